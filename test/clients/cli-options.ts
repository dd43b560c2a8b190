/** Notes which options of the real CLI a file of tests gives, and tells those of its help that none gave: a new one wants a case. */
import { spawnSync } from 'node:child_process';
import type { RunResult, TestDaemon } from '../support/daemon.ts';

/** Long names of a command's options by themselves and by their letters, as its help lists them. */
function optionsOf(command: string): Map<string, string> {
  const help = spawnSync('docker', ['container', command, '--help'], { encoding: 'utf8' }).stdout;
  const found = new Map<string, string>();
  for (const [, letter, name] of help.matchAll(/^\s+(?:-(\w), )?--([a-z0-9-]+)/gm)) {
    if (name === 'help') continue;
    found.set(`--${name}`, name!);
    if (letter) found.set(`-${letter}`, name!);
  }
  return found;
}

export class OptionCases {
  #used = new Map<string, Set<string>>();
  #daemon: () => TestDaemon;

  constructor(daemon: () => TestDaemon) {
    this.#daemon = daemon;
  }

  /** One command: its options apart from the words behind them, which may look like options. */
  call(command: string, options: readonly string[], ...words: string[]): RunResult {
    this.note(command, options);
    return this.#daemon().docker('container', command, ...options, ...words);
  }

  ok(command: string, options: readonly string[], ...words: string[]): string {
    const { code, stdout, stderr } = this.call(command, options, ...words);
    if (code !== 0) throw new Error(`docker ${command} ${options.join(' ')} ${words.join(' ')}: ${stderr || stdout}`);
    return stdout.trim();
  }

  /** Of a command that is started otherwise. */
  note(command: string, options: readonly string[]): void {
    const used = this.#used.get(command) ?? new Set();
    for (const option of options) if (option.startsWith('-')) used.add(option.split('=')[0]!);
    this.#used.set(command, used);
  }

  /** "cp --archive", … */
  missing(...commands: string[]): string[] {
    return commands.flatMap((command) => {
      const options = optionsOf(command);
      const used = new Set([...(this.#used.get(command) ?? [])].map((option) => options.get(option)));
      return [...new Set(options.values())].filter((name) => !used.has(name)).map((name) => `${command} --${name}`);
    });
  }
}

/** The process edge: subcommands, flags, signals, exit codes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { isCommand, runCommand } from './commands/index.ts';
import type { Config } from './config/config.ts';
import { type CommandLine, helpText, loadConfig, parseCommandLine } from './config/load.ts';
import { endProcess } from './host/ffi.ts';
import { logStream } from './service/log-stream.ts';
import { notifier, notifyStop, watchdogInterval } from './service/notify.ts';
import { VERSION } from './version.ts';

const FORCE_AFTER_SIGNALS = 3;
/** What becomes of containers when a signal ends the daemon: `live-restore` says, or the signal itself. */
const STOP_SIGNALS: Readonly<Record<string, 'leave' | 'stop' | undefined>> = {
  SIGTERM: undefined,
  SIGINT: undefined,
  SIGUSR2: 'leave',
  SIGQUIT: 'stop',
};

async function main(args: string[]): Promise<number> {
  if (isCommand(args[0])) return runCommand(args[0], args.slice(1));
  let line: CommandLine;
  let config: Config;
  try {
    line = parseCommandLine(args);
    if (line.help) return print(helpText());
    if (line.version) return print(`reactord version ${VERSION}`);
    config = loadConfig(line);
    if (line.validate) return print('configuration OK');
  } catch (error) {
    process.stderr.write(`reactord: ${(error as Error).message}\n`);
    return 1;
  }
  return serve(config, line);
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

/** The configuration's proxies take the place of the environment's. */
function setProxies({ httpProxy, httpsProxy, noProxy }: Config): void {
  for (const [name, value] of Object.entries({ HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy, NO_PROXY: noProxy })) {
    if (!value) continue;
    process.env[name] = value;
    process.env[name.toLowerCase()] = value;
  }
}

async function serve(config: Config, line: CommandLine): Promise<number> {
  // What containers are to read (hosts, resolv.conf, volumes) must be readable by any user in them; what they are not to is given its mode where it is made.
  process.umask(0o022);
  setProxies(config);
  const log = pino({ level: config.logLevel, base: null }, logStream(config.logFormat));
  const notify = notifier();
  const [{ startDaemon }, { returnLargeBlocks }] = await Promise.all([
    import('./daemon.ts'),
    import('./host/allocator.ts'),
  ]);
  returnLargeBlocks();
  const daemon = startDaemon(config, log);

  let current = config;
  let signals = 0;
  for (const [name, containers] of Object.entries(STOP_SIGNALS))
    process.on(name, (signal: string) => {
      signals++;
      log.info({ signal }, signals >= FORCE_AFTER_SIGNALS ? 'forced to stop' : 'stopping');
      if (signals === 1) notifyStop(notify, current.shutdownTimeout);
      if (signals >= FORCE_AFTER_SIGNALS) daemon.force();
      else daemon.stop(containers);
    });
  process.on('SIGHUP', () => {
    try {
      current = loadConfig(line);
      daemon.reload(current);
      log.info('configuration reloaded');
    } catch (error) {
      log.error({ err: error }, 'the new configuration is not taken');
    }
  });
  // Handled here, so that Node does not open its inspector on it.
  process.on('SIGUSR1', () => {
    const path = join(config.execRoot, `dump-${new Date().toISOString().replaceAll(':', '')}.json`);
    writeFileSync(path, JSON.stringify(daemon.dump(), null, 2), { mode: 0o600 });
    log.info({ path }, 'state dumped');
  });
  process.on('uncaughtException', (error) => log.error({ err: error }, 'an error nobody handled'));
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'a rejection nobody handled'));

  daemon.serving.then(
    () => {
      notify('READY=1', `STATUS=serving ${config.hosts.join(' ')}`);
      log.info({ hosts: config.hosts, version: VERSION }, 'serving');
      const interval = watchdogInterval();
      if (interval) setInterval(() => notify('WATCHDOG=1'), interval).unref();
    },
    () => {},
  );
  const error = await daemon.stopped;
  if (!error) return 0;
  process.stderr.write(`reactord: ${error instanceof Error ? error.message : String(error)}\n`);
  log.debug({ err: error }, 'why it ended');
  return 1;
}

endProcess(await main(process.argv.slice(2)));

/**
 * A real daemon for tests: its own network namespace, data root and socket; a real registry with a busybox image inside the same namespace
 * when asked for. `stop` checks that the daemon ends by itself and takes everything away.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { pushBusybox } from './fixture-image.ts';
import { startRegistry, type TestRegistry } from './registry.ts';

const repository = join(import.meta.dirname, '../..');

export interface RunResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface ApiAnswer<T = any> {
  status: number;
  headers: NodeJS.Dict<string | string[]>;
  text: string;
  json: T;
}

export interface TestDaemon {
  socket: string;
  directory: string;
  dataRoot: string;
  netns: string;
  /** busybox as the daemon pulls it: "127.0.0.1:port/busybox:latest"; '' without a registry. */
  image: string;
  registry: TestRegistry | undefined;
  /** The docker CLI against this daemon, in its network namespace. Never throws on an exit code. */
  docker(...args: string[]): RunResult;
  dockerWith(
    options: { input?: string; env?: Record<string, string>; timeout?: number; cwd?: string },
    ...args: string[]
  ): RunResult;
  /** Like `docker`, but fails the test when the command fails. Returns stdout, trimmed. */
  ok(...args: string[]): string;
  /** A CLI command that goes on beside the test. */
  spawnDocker(...args: string[]): ChildProcess;
  /** A command in the daemon's network namespace. */
  inside(...command: string[]): RunResult;
  api<T = any>(method: string, path: string, body?: unknown): Promise<ApiAnswer<T>>;
  log(): string;
  pid(): number;
  /** kill -9. */
  kill(): Promise<void>;
  /** Starts it again on the same roots after kill or a stop. */
  restart(...flags: string[]): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  terminate(signal?: NodeJS.Signals): Promise<number | null>;
  stop(): Promise<void>;
}

export interface DaemonOptions {
  flags?: string[];
  env?: Record<string, string>;
  /** Starts a registry and pulls busybox from it; true unless told. */
  image?: boolean;
}

/** A command that hangs is killed outright: the docker CLI passes a SIGTERM on to its container and stays. */
const run = (command: string, args: string[], options: object = {}): RunResult => {
  const done = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
    ...options,
  });
  const timedOut = (done.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT';
  if (done.error && !timedOut && done.status === null && !done.stdout) throw done.error;
  return { code: done.status ?? 128, stdout: done.stdout ?? '', stderr: done.stderr ?? '' };
};

export async function startDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const name = `reactord-${randomBytes(3).toString('hex')}`;
  const directory = mkdtempSync(join(tmpdir(), 'reactord-test-'));
  const netns = `/run/netns/${name}`;
  const socket = join(directory, 'docker.sock');
  const logFile = join(directory, 'daemon.log');
  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const enter = ['--net=' + netns];
  const registry = options.image === false ? undefined : await startRegistry({ netns });
  if (registry) await pushBusybox(registry, 'busybox:latest');
  const baseFlags = [
    ...['-H', `unix://${socket}`, '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'run')],
    ...['--pidfile', join(directory, 'reactord.pid'), '--config-file', join(directory, 'daemon.json')],
    ...['--cgroup-parent', `/reactord-test-${name.slice(9)}`, '--log-level', process.env.TEST_LOG ?? 'info'],
  ];
  let child: ChildProcess | undefined;

  const start = async (flags: string[]): Promise<void> => {
    const log = openSync(logFile, 'a');
    const written = fstatSync(log).size;
    if (!existsSync(join(directory, 'daemon.json'))) execFileSync('sh', ['-c', `echo '{}' > ${directory}/daemon.json`]);
    const started = spawn('nsenter', [...enter, join(repository, 'bin/reactord'), ...baseFlags, ...flags], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...options.env },
    });
    closeSync(log);
    child = started;
    const hasEnded = (): boolean => started.exitCode !== null || started.signalCode !== null;
    await eventually(
      async () => {
        if (hasEnded()) return true;
        return (await api('GET', '/_ping')).status === 200 && readFileSync(logFile).includes(' serving', written);
      },
      { within: 60_000, what: 'the daemon serves' },
    );
    if (hasEnded())
      throw new Error(
        `the daemon ended with ${started.exitCode ?? started.signalCode}: ${readFileSync(logFile, 'utf8')}`,
      );
  };

  const ended = (process: ChildProcess | undefined): Promise<number | null> =>
    new Promise((resolve) => {
      if (!process || process.exitCode !== null || process.signalCode !== null)
        return resolve(process?.exitCode ?? null);
      process.once('exit', (code) => resolve(code));
    });

  const api = <T>(method: string, path: string, body?: unknown): Promise<ApiAnswer<T>> =>
    new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
      const call = httpRequest(
        {
          socketPath: socket,
          method,
          path,
          agent: false,
          headers: payload === undefined ? {} : { 'content-type': 'application/json' },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            resolve({
              status: answer.statusCode ?? 0,
              headers: answer.headers,
              text,
              get json() {
                return JSON.parse(text) as T;
              },
            });
          });
        },
      );
      call.on('error', reject);
      call.end(payload);
    });

  const cliEnv = {
    ...process.env,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: join(directory, 'cli'),
    DOCKER_BUILDKIT: '0',
  };
  const cli = (args: string[]): string[] => [...enter, 'docker', ...args];
  const docker: TestDaemon['docker'] = (...args) => run('nsenter', cli(args), { env: cliEnv });

  const daemon: TestDaemon = {
    socket,
    directory,
    dataRoot: join(directory, 'data'),
    netns,
    image: registry ? `${registry.host}/busybox:latest` : '',
    registry,
    docker,
    dockerWith: ({ env, ...more }, ...args) => run('nsenter', cli(args), { ...more, env: { ...cliEnv, ...env } }),
    ok(...args) {
      const result = docker(...args);
      if (result.code !== 0)
        throw new Error(`docker ${args.join(' ')}: exit ${result.code}: ${result.stderr || result.stdout}`);
      return result.stdout.trim();
    },
    spawnDocker: (...args) => spawn('nsenter', cli(args), { env: cliEnv, stdio: 'pipe' }),
    inside: (...command) => run('nsenter', [...enter, ...command], { env: cliEnv }),
    api,
    log: () => readFileSync(logFile, 'utf8'),
    pid: () => Number(readFileSync(join(directory, 'reactord.pid'), 'utf8')),
    async kill() {
      child?.kill('SIGKILL');
      await ended(child);
    },
    async restart(...flags) {
      if (child && child.exitCode === null && child.signalCode === null) await daemon.terminate();
      await start([...(options.flags ?? []), ...flags]);
    },
    async terminate(signal = 'SIGTERM') {
      child?.kill(signal);
      return ended(child);
    },
    async stop() {
      // One that was killed, by a test that then failed, has left its containers to the next.
      if (child?.signalCode && spawnSync('pgrep', ['-f', `containerd-shim.*${directory}/`]).status === 0)
        await start(options.flags ?? []).catch(() => {});
      if (child && child.exitCode === null && child.signalCode === null) {
        // Whatever a test left running goes first, so that a failing test leaves the machine clean too.
        const left = await api<{ Id: string }[]>('GET', '/containers/json?all=1').catch(() => undefined);
        for (const { Id } of left?.status === 200 ? left.json : [])
          await api('DELETE', `/containers/${Id}?force=1&v=1`);
        await daemon.terminate();
      }
      await registry?.stop();
      spawnSync('ip', ['netns', 'del', name]);
      // What may still be mounted below would otherwise be emptied by the removal.
      spawnSync('sh', ['-c', `grep -o ' ${directory}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l`]);
      rmSync(directory, { recursive: true, force: true });
      for (const root of ['/sys/fs/cgroup', ...controllers()])
        spawnSync('sh', [
          '-c',
          `find ${root}/reactord-test-${name.slice(9)} -depth -type d -exec rmdir {} + 2>/dev/null`,
        ]);
    },
  };
  try {
    await start(options.flags ?? []);
    if (registry) daemon.ok('pull', '-q', daemon.image);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

/** Mount points of the cgroup hierarchies, v1 and v2. */
function controllers(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => / cgroup2? /.test(line))
    .map((line) => line.split(' ')[1]!);
}

/** The daemons that are measured: each started on a socket and roots of its own, with the same runc and registry. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const repository = join(import.meta.dirname, '..');

export interface Peer {
  name: string;
  version: string;
  socket: string;
  netns: string;
  directory: string;
  image: string;
  bigImage: string;
  /** The docker CLI against it; throws on failure. */
  docker(...args: string[]): string;
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Buffer }>;
  /** Process ids of the daemon and all its helpers, without containers' own processes and shims. */
  daemonPids(): number[];
  shimPids(): number[];
  startAgain(): Promise<void>;
  halt(): Promise<void>;
  /** SIGKILL: what it started lives on. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

/** Bytes of all processes by proportional set size. */
export function pss(pids: number[]): number {
  let bytes = 0;
  for (const pid of pids) {
    try {
      const kib = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
      bytes += Number(kib ?? 0) * 1024;
    } catch {
      // It ended meanwhile.
    }
  }
  return bytes;
}

export function processes(): { pid: number; ppid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const ppid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return [{ pid: Number(name), ppid, command }];
      } catch {
        return [];
      }
    });
}

export function httpCall(socketPath: string, method: string, path: string, body?: unknown) {
  return new Promise<{ status: number; body: Buffer }>((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method,
        path,
        agent: false,
        headers: body ? { 'content-type': Buffer.isBuffer(body) ? 'application/x-tar' : 'application/json' } : {},
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }));
        answer.on('error', reject);
      },
    );
    call.on('error', reject);
    call.end(Buffer.isBuffer(body) ? body : body ? JSON.stringify(body) : undefined);
  });
}

/** Milliseconds until the daemon answers. */
export async function answering(socket: string, child: ChildProcess, within = 30_000): Promise<void> {
  const end = Date.now() + within;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}`);
    try {
      if ((await httpCall(socket, 'GET', '/_ping')).status === 200) return;
    } catch {
      // Not yet.
    }
    if (Date.now() > end) throw new Error('the daemon does not answer');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

interface Launched {
  command: string[];
  env: Record<string, string>;
  /** What its processes are called. */
  match: RegExp;
  /** What its users type instead of `docker`. */
  cli?: string[];
}

interface Place {
  directory: string;
  socket: string;
  /** The registry's name and port. */
  registry: string;
}

type Launch = (place: Place) => Launched;

const reactord: Launch = ({ directory, socket }) => ({
  command: [
    join(repository, 'bin/reactord'),
    ...['-H', `unix://${socket}`, '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'run')],
    ...['--pidfile', join(directory, 'pid'), '--config-file', join(directory, 'daemon.json'), '--bip', '172.30.0.1/16'],
  ],
  env: {},
  match: /dist\/main\.mjs/,
});

const dockerd: Launch = ({ directory, socket }) => ({
  command: [
    process.env.BENCH_DOCKERD ?? 'dockerd',
    ...['-H', `unix://${socket}`, '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'run')],
    ...['--pidfile', join(directory, 'pid'), '--config-file', join(directory, 'daemon.json'), '--bip', '172.30.0.1/16'],
    ...(process.env.BENCH_DOCKERD ? ['--feature', 'containerd-snapshotter=false'] : []),
  ],
  env: { PATH: [process.env.BENCH_PATH, process.env.PATH].filter(Boolean).join(':') },
  match: /dockerd|containerd(?!-shim)/,
});

/** Its service answers the API; its own CLI does without. */
function podman({ directory, socket, registry }: Place): Launched {
  const settings = join(directory, 'containers.conf');
  const registries = join(directory, 'registries.conf');
  const network = `network_backend = "netavark"\nnetwork_config_dir = "${join(directory, 'networks')}"`;
  // Its own default is the most that the kernel has, which not everybody may ask for.
  const limits = 'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]';
  const engine = 'cgroup_manager = "cgroupfs"\nevents_logger = "file"';
  writeFileSync(settings, `[containers]\n${limits}\n[engine]\n${engine}\n[network]\n${network}\n`);
  writeFileSync(registries, `[[registry]]\nlocation = "${registry}"\ninsecure = true\n`);
  const roots = ['--root', join(directory, 'data'), '--runroot', join(directory, 'run')];
  const cli = ['podman', ...roots, '--storage-driver', 'overlay', '--runtime', 'runc'];
  return {
    command: [...cli, 'system', 'service', '--time=0', `unix://${socket}`],
    env: { CONTAINERS_CONF: settings, CONTAINERS_REGISTRIES_CONF: registries },
    match: /^podman|conmon/,
    cli,
  };
}

const launches: Record<string, Launch> = { reactord, dockerd, podman };

export async function startPeer(
  name: string,
  images: { image: string; bigImage: string; netns: string },
): Promise<Peer> {
  const directory = mkdtempSync(join(tmpdir(), `bench-${name}-`));
  const socket = join(directory, 'docker.sock');
  mkdirSync(join(directory, 'cli'));
  writeFileSync(join(directory, 'cli/config.json'), '{}');
  writeFileSync(join(directory, 'daemon.json'), '{}');
  const launch = launches[name]!({ directory, socket, registry: images.image.split('/')[0]! });
  let child: ChildProcess;
  const start = async (): Promise<void> => {
    const log = openSync(join(directory, 'log'), 'a');
    child = spawn('nsenter', [`--net=${images.netns}`, ...launch.command], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...launch.env },
    });
    try {
      await answering(socket, child);
    } catch (error) {
      throw new Error(
        `${name}: ${(error as Error).message}\n${readFileSync(join(directory, 'log'), 'utf8').slice(-2000)}`,
      );
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  };
  const halt = (): Promise<void> => end('SIGTERM');
  await start();
  const env = {
    ...process.env,
    ...launch.env,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: join(directory, 'cli'),
    DOCKER_BUILDKIT: '0',
  };
  const ours = (): { pid: number; command: string }[] =>
    processes().filter(({ command }) => command.includes(directory));
  const peer: Peer = {
    name,
    version: '',
    socket,
    directory,
    ...images,
    docker(...args) {
      const [file, ...before] = launch.cli ? ['nsenter', `--net=${images.netns}`, ...launch.cli] : ['docker'];
      const options = { env, encoding: 'utf8', timeout: 60_000, maxBuffer: 1 << 30 } as const;
      const done = spawnSync(file!, [...before, ...args], options);
      if (done.status !== 0) throw new Error(`${name}: docker ${args.join(' ')}: ${done.stderr}`);
      return done.stdout.trim();
    },
    call: (method, path, body) => httpCall(socket, method, path, body),
    daemonPids: () =>
      ours()
        .filter(({ command }) => launch.match.test(command) && !/containerd-shim/.test(command.split(' ')[0]!))
        .map(({ pid }) => pid),
    shimPids: () =>
      ours()
        .filter(({ command }) => /containerd-shim-runc-v2/.test(command.split(' ')[0]!))
        .map(({ pid }) => pid),
    startAgain: start,
    halt,
    crash: () => end('SIGKILL'),
    async stop() {
      const left = JSON.parse((await httpCall(socket, 'GET', '/containers/json?all=1')).body.toString()) as {
        Id: string;
      }[];
      for (const { Id } of left) await httpCall(socket, 'DELETE', `/containers/${Id}?force=1&v=1`);
      await halt();
      spawnSync('sh', ['-c', `grep -o ' ${directory}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l`]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  peer.version = JSON.parse((await peer.call('GET', '/version')).body.toString()).Version;
  return peer;
}

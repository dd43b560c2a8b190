/**
 * A program the tests start in network and mount namespaces of its own: a network room over a memory store, driven by
 * messages. What it makes in the kernel goes with its namespaces.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import type { SandboxRequest } from '../../src/network/port.ts';
import { createNetworkRoom, type NetworkRoom } from '../../src/network/room.ts';
import { testDeps } from '../support/deps.ts';

export interface Message {
  id: number;
  call: string;
  args: unknown[];
}

const [directory = '', options = '{}'] = process.argv.slice(2);
const tool = (command: string, args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
};

tool('mount', ['--make-rprivate', '/']);
mkdirSync(directory, { recursive: true });
tool('mount', ['-t', 'tmpfs', 'tmpfs', directory]);
tool('ip', ['link', 'set', 'lo', 'up']);
// Resolvers answer from a link of this namespace, so that nothing leaves the machine.
writeFileSync(join(directory, 'resolv.conf'), 'nameserver 198.51.100.53\n');
tool('mount', ['--bind', join(directory, 'resolv.conf'), '/etc/resolv.conf']);

const deps = testDeps({
  config: { dataRoot: join(directory, 'data'), execRoot: join(directory, 'exec'), ...JSON.parse(options) },
});
const users = { using: () => [], connect: async () => {}, disconnect: async () => {} };
let room: NetworkRoom;

const request = (name: string, more: Partial<SandboxRequest> = {}): SandboxRequest => {
  const containerId = Buffer.from(name).toString('hex').padEnd(64, '0');
  const folder = join(directory, containerId);
  mkdirSync(folder, { recursive: true });
  return {
    containerId,
    name,
    hostname: name,
    domainname: '',
    mode: 'bridge',
    endpoints: {},
    exposedPorts: [],
    portBindings: {},
    publishAll: false,
    dns: [],
    dnsSearch: [],
    dnsOptions: [],
    extraHosts: [],
    links: [],
    sysctls: {},
    labels: {},
    directory: folder,
    ...more,
  };
};

const started = new Map<number, ReturnType<typeof spawn>>();

const calls: Record<string, (...args: any[]) => unknown> = {
  boot: async () => {
    room = await createNetworkRoom({ ...deps, users });
    await room.boot();
  },
  /** Another daemon over the same records, as after a crash. */
  reboot: async () => {
    await room.stop();
    deps.reactor.stop();
    await calls.boot!();
  },
  up: async (name: string, more: Partial<SandboxRequest>) => {
    const wanted = request(name, more);
    room.networks.validate(wanted);
    await room.networks.prepare(wanted);
    return room.networks.open(wanted);
  },
  restore: (name: string, more: Partial<SandboxRequest>) => room.networks.restore(request(name, more), {} as never),
  down: async (name: string) => {
    await room.networks.close(request(name).containerId);
    await room.settled();
  },
  connect: (name: string, network: string, endpoint: object) => room.networks.connect(request(name), network, endpoint),
  disconnect: (name: string, network: string) => room.networks.disconnect(request(name).containerId, network, false),
  create: (body: { Name: string }) => room.service.create(body),
  remove: (name: string) => room.service.remove(name),
  inspect: (name: string) => room.service.inspect(name, { verbose: true }),
  reach: (from: string, to: string) => room.explainReach(from, to),
  inspectKernel: () => room.inspectKernel(),
  /** How often something was found broken. */
  repairs: () => deps.facts.filter((fact) => fact.topic === 'reactor' && fact.action === 'repaired').length,
  events: () => deps.events('network'),
  pid: () => process.pid,
  /** A shell in the namespace of the daemon, or of a container. */
  sh: (script: string, netns?: string) =>
    new Promise((resolve) => {
      const child = netns ? spawn('nsenter', [`--net=${netns}`, 'sh', '-c', script]) : spawn('sh', ['-c', script]);
      let out = '';
      child.stdout.on('data', (chunk) => (out += chunk));
      child.stderr.on('data', (chunk) => (out += chunk));
      child.on('close', (code) => resolve({ code, out }));
    }),
  /** Something that runs until `kill`. */
  start: (script: string, netns?: string) => {
    const child = netns
      ? spawn('nsenter', [`--net=${netns}`, 'sh', '-c', `exec ${script}`], { stdio: 'ignore' })
      : spawn('sh', ['-c', `exec ${script}`], { stdio: 'ignore' });
    started.set(child.pid!, child);
    return child.pid;
  },
  kill: (pid: number) => started.get(pid)?.kill('SIGKILL'),
  end: async () => {
    for (const child of started.values()) child.kill('SIGKILL');
    await room?.stop();
    setImmediate(() => process.exit(0));
  },
};

process.on('message', (message: Message) => {
  void (async () => {
    try {
      const result = await calls[message.call]!(...message.args);
      process.send!({ id: message.id, result });
    } catch (error) {
      const { message: text, kind, code } = error as { message: string; kind?: string; code?: string };
      process.send!({ id: message.id, error: { message: text, kind, code } });
    }
  })();
});
process.on('disconnect', () => process.exit(0));
process.send!({ ready: true });

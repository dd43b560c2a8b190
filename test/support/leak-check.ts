/** What a daemon without containers must not have left: by positive look at the kernel, not at the daemon's own books. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestDaemon } from './daemon.ts';
import { eventually } from './eventually.ts';

const lines = (text: string): string[] => text.split('\n').filter(Boolean);

function shims(daemon: TestDaemon): string[] {
  const found = spawnSync('pgrep', ['-af', `containerd-shim.*${daemon.directory}`], { encoding: 'utf8' }).stdout;
  return lines(found).map((line) => `shim: ${line.slice(0, 160)}`);
}

function mounts(daemon: TestDaemon): string[] {
  return lines(readFileSync('/proc/self/mounts', 'utf8'))
    .map((line) => line.split(' ')[1]!)
    .filter((path) => path.startsWith(`${daemon.directory}/`))
    .map((path) => `mount: ${path}`);
}

/** Links of containers: everything that is neither loopback nor a bridge of a network that still is. */
function links(daemon: TestDaemon): string[] {
  const found = JSON.parse(
    execFileSync('ip', ['-n', basename(daemon.netns), '-j', 'link'], { encoding: 'utf8' }) || '[]',
  ) as { ifname: string }[];
  return found.filter(({ ifname }) => /^veth/.test(ifname)).map(({ ifname }) => `link: ${ifname}`);
}

function publishedPorts(daemon: TestDaemon): string[] {
  const { stdout } = daemon.inside('nft', '-j', 'list', 'ruleset');
  const parsed = JSON.parse(stdout || '{"nftables":[]}') as {
    nftables: { map?: { name: string; elem?: unknown[] } }[];
  };
  return parsed.nftables.flatMap(({ map }) =>
    (map?.elem ?? [])
      .filter((element) => /concat/.test(JSON.stringify(element)))
      .map((element) => `nft element of ${map!.name}: ${JSON.stringify(element).slice(0, 100)}`),
  );
}

function cgroups(daemon: TestDaemon): string[] {
  const parent = `reactord-test-${basename(daemon.netns).slice('reactord-'.length)}`;
  const roots = ['/sys/fs/cgroup', ...readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`)];
  return roots
    .map((root) => join(root, parent))
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => `cgroup: ${path}/${entry.name}`),
    );
}

function directories(daemon: TestDaemon): string[] {
  const left = (path: string): string[] =>
    existsSync(path) ? readdirSync(path).map((name) => `left: ${path}/${name}`) : [];
  return [...left(join(daemon.directory, 'run/netns')), ...left(join(daemon.dataRoot, 'containers'))];
}

export const leaks = (daemon: TestDaemon): string[] =>
  [shims, mounts, links, publishedPorts, cgroups, directories].flatMap((look) => look(daemon));

/** Removes all containers and waits until nothing of them is left. */
export async function expectNoLeaks(daemon: TestDaemon): Promise<void> {
  const ids = lines(daemon.ok('ps', '-aq', '--no-trunc'));
  for (const id of ids) {
    const { code, stderr } = daemon.docker('rm', '-f', '-v', id);
    if (code !== 0 && !/No such container|already in progress/.test(stderr)) throw new Error(stderr);
  }
  await eventually(() => daemon.ok('ps', '-aq') === '', { what: 'all containers are gone' });
  let found: string[] = [];
  try {
    await eventually(() => (found = leaks(daemon)).length === 0, { within: 10_000 });
  } catch {
    throw new Error(`left behind:\n${found.join('\n')}`);
  }
}

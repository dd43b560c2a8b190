/**
 * Users of containers that are nobody on the host (--userns-remap). All files of ours keep the ids that containers know; a running
 * container sees them through idmapped mounts of our directories (mount_setattr(2)), so that images, volumes and caches are
 * the same with remapping and without. One user namespace, held by a file, is joined by all containers and owns their
 * network namespaces.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import { asDaemonError, internal, invalid } from '../errors.ts';
import { withDeadline } from '../lib/deadline.ts';
import { FS_MAGIC, fsMagic, idmappedMount, mount, MS, umountIfMounted } from './ffi.ts';

/** As the OCI runtime specification has it. */
export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface Owner {
  uid: number;
  gid: number;
}

export interface UserRemap {
  /** The file on which the user namespace lies. */
  namespace: string;
  uid: IdMapping[];
  gid: IdMapping[];
  /** The host's ids of a container's user. */
  outside(owner: Owner): Owner;
  /** A container's ids of a file's owner as the host has it; nobody's where they are none of its own. */
  inside(owner: Owner): Owner;
  /** Where containers find a file of the data root with the owners that they know; other paths as they are. */
  seen(path: string): string;
  /** The same, where it is the same: what is mounted over a directory of ours is not seen through the other way. */
  visible(path: string): string;
  close(): void;
}

const OVERFLOW_ID = 65534;
/** dockerd's user for `default`. */
const DEFAULT_USER = 'dockremap';
const HELPER_MS = 10_000;
/**
 * What containers see into: directories of the data root that may lie on file systems of their own, with their modes, and
 * the data root for the rest.
 */
const MAPPED = { overlay2: 0o710, volumes: 0o701, buildkit: 0o700 } as const;
const REST = 'data';

/** The ranges of a user or group, by name or number, as subuid(5) and subgid(5) have them: from 0 upwards in a container. */
export function subordinateIds(text: string, names: readonly string[]): IdMapping[] {
  const mappings: IdMapping[] = [];
  let next = 0;
  for (const line of text.split('\n')) {
    const [name = '', first = '', count = ''] = line.trim().split(':');
    if (!names.includes(name) || !/^\d+$/.test(first) || !/^\d+$/.test(count) || Number(count) === 0) continue;
    mappings.push({ containerID: next, hostID: Number(first), size: Number(count) });
    next += Number(count);
  }
  return mappings;
}

function shift(mappings: readonly IdMapping[], id: number, from: 'containerID' | 'hostID'): number {
  const to = from === 'containerID' ? 'hostID' : 'containerID';
  const found = mappings.find((mapping) => id >= mapping[from] && id < mapping[from] + mapping.size);
  return found ? id - found[from] + found[to] : OVERFLOW_ID;
}

/** Name and number of an entry of passwd(5) or group(5), by either. */
async function namesOf(file: string, wanted: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const entry = text
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name, , id]) => name === wanted || id === wanted);
  if (!entry && !/^\d+$/.test(wanted)) return [wanted];
  return entry ? [entry[0]!, entry[2]!] : [wanted];
}

async function rangesOf(kind: 'uid' | 'gid', wanted: string): Promise<IdMapping[]> {
  const file = `/etc/sub${kind}`;
  const names = await namesOf(kind === 'uid' ? '/etc/passwd' : '/etc/group', wanted);
  const found = subordinateIds(await readFile(file, 'utf8').catch(() => ''), names);
  if (!found.length)
    throw invalid(`--userns-remap: ${file} has no range for ${wanted}: add a line such as "${wanted}:100000:65536"`);
  return found;
}

const mapText = (mappings: readonly IdMapping[]): string =>
  mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join('');

/** A user namespace with these ids, held by a helper until `work` is over. */
async function withUserNamespace<T>(uid: string, gid: string, work: (path: string) => T): Promise<T> {
  const child = spawn('unshare', ['--user', 'sh', '-c', 'echo ready; read -r end'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => {});
  try {
    await withDeadline(
      'making a user namespace',
      HELPER_MS,
      undefined,
      () =>
        new Promise<void>((resolve, reject) => {
          child.once('error', reject);
          child.once('exit', (code) => reject(internal(`unshare --user: ended with ${code}`)));
          child.stdout.once('data', () => resolve());
        }),
    );
    writeFileSync(`/proc/${child.pid}/uid_map`, uid);
    writeFileSync(`/proc/${child.pid}/gid_map`, gid);
    return work(`/proc/${child.pid}/ns/user`);
  } finally {
    child.stdin.end();
    child.kill();
  }
}

/** The namespace of containers lies on a file; one of an earlier daemon with the same ids goes on, for containers may live in it. */
async function pinNamespace(directory: string, uid: string, gid: string): Promise<string> {
  const path = join(directory, 'namespace');
  const note = join(directory, 'ids');
  const ids = `${uid}\n${gid}`;
  if (!existsSync(path)) writeFileSync(path, '');
  const isPinned = fsMagic(path) === FS_MAGIC.NSFS;
  if (isPinned && readFileSync(note, 'utf8') === ids) return path;
  while (umountIfMounted(path));
  await withUserNamespace(uid, gid, (made) => mount(made, path, '', MS.BIND));
  writeFileSync(note, ids);
  return path;
}

/**
 * Our own user, who mounts overlays, needs an id in the mounts too: the first that no container has. What overlayfs makes for
 * itself (whiteouts, its work directory) belongs to it.
 */
const withOurselves = (mappings: readonly IdMapping[]): IdMapping[] => [
  ...mappings,
  {
    containerID: mappings.reduce((end, { containerID, size }) => Math.max(end, containerID + size), 0),
    hostID: 0,
    size: 1,
  },
];

async function mapDirectories(
  dataRoot: string,
  directory: string,
  uid: readonly IdMapping[],
  gid: readonly IdMapping[],
): Promise<void> {
  await withUserNamespace(mapText(withOurselves(uid)), mapText(withOurselves(gid)), (namespace) => {
    const fd = openSync(namespace, 'r');
    try {
      for (const [name, mode] of Object.entries(MAPPED)) mkdirSync(join(dataRoot, name), { recursive: true, mode });
      for (const name of [...Object.keys(MAPPED), REST]) {
        const target = join(directory, name);
        mkdirSync(target, { recursive: true, mode: 0o711 });
        while (umountIfMounted(target));
        idmappedMount(name === REST ? dataRoot : join(dataRoot, name), target, fd);
      }
    } finally {
      closeSync(fd);
    }
  }).catch((error: unknown) => {
    const { message } = asDaemonError(error);
    throw internal(
      `--userns-remap needs Linux 5.19 and a file system that maps ids (ext4, xfs, btrfs) under ${dataRoot}: ${message}`,
      { cause: error },
    );
  });
}

/** `default`, `user` or `user:group`, by name or number. Errors: invalid with one line. */
export async function openUserRemap(config: Pick<Config, 'usernsRemap' | 'dataRoot' | 'execRoot'>): Promise<UserRemap> {
  const [wanted = '', group] = config.usernsRemap.split(':');
  const user = wanted === 'default' ? DEFAULT_USER : wanted;
  const uid = await rangesOf('uid', user);
  const gid = await rangesOf('gid', group ?? user);
  const dataRoot = resolve(config.dataRoot);
  const directory = join(config.execRoot, 'userns');
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const namespace = await pinNamespace(directory, mapText(uid), mapText(gid));
  await mapDirectories(dataRoot, directory, uid, gid);
  const seen = (path: string): string => {
    if (!path.startsWith(`${dataRoot}/`)) return path;
    const rest = path.slice(dataRoot.length + 1);
    return join(directory, Object.hasOwn(MAPPED, rest.split('/', 1)[0]!) ? '' : REST, rest);
  };
  return {
    namespace,
    seen,
    uid,
    gid,
    outside: (owner) => ({ uid: shift(uid, owner.uid, 'containerID'), gid: shift(gid, owner.gid, 'containerID') }),
    inside: (owner) => ({ uid: shift(uid, owner.uid, 'hostID'), gid: shift(gid, owner.gid, 'hostID') }),
    visible(path) {
      const other = seen(path);
      const [here, there] = [path, other].map((one) => statSync(one, { throwIfNoEntry: false }));
      return here?.ino === there?.ino && here?.dev === there?.dev ? other : path;
    },
    close() {
      for (const name of ['namespace', REST, ...Object.keys(MAPPED)]) while (umountIfMounted(join(directory, name)));
    },
  };
}

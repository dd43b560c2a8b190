/** The container's mounts: the default file systems, those the user put over them, and what read-only and privileged change. */
import { invalid } from '../../errors.ts';
import { kernelAtLeast } from './seccomp.ts';
import type { HostSettings } from './docker-types.ts';
import { defaultMounts } from './defaults.ts';
import type { SpecMount } from './spec-types.ts';

export type Propagation = 'private' | 'rprivate' | 'shared' | 'rshared' | 'slave' | 'rslave';

/** A mount point with everything decided: a path on the host, or a tmpfs. */
export type ContainerMount =
  | {
      kind: 'bind';
      source: string;
      destination: string;
      writable: boolean;
      propagation?: Propagation | '';
      nonRecursive?: boolean;
      readOnlyNonRecursive?: boolean;
      readOnlyForceRecursive?: boolean;
      /** The user named the propagation: no falling back when the source cannot have it. */
      explicitPropagation?: boolean;
    }
  | { kind: 'tmpfs'; destination: string; options: string };

export interface MountInput {
  settings: HostSettings;
  mounts: readonly ContainerMount[];
  shmSize: number;
  /** Propagation of the mount that each bind source lies on. */
  propagation: ReadonlyMap<string, string>;
  dataRoot: string;
  kernelVersion: string;
  /** The init put over /sbin/docker-init. */
  initPath: string | undefined;
  writableCgroups: boolean;
}

export const INIT_IN_CONTAINER = '/sbin/docker-init';

/** Opposites of a tmpfs's flags: the later of a pair wins. */
const FLAG_GROUPS: readonly (readonly string[])[] = [
  ['ro', 'rw'],
  ['exec', 'noexec'],
  ['suid', 'nosuid'],
  ['dev', 'nodev'],
  ['atime', 'noatime'],
  ['diratime', 'nodiratime'],
  ['relatime', 'norelatime', 'strictatime', 'nostrictatime'],
  ['sync', 'async', 'dirsync'],
  ['mand', 'nomand'],
  ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave', 'unbindable', 'runbindable'],
  ['defaults'],
  ['bind', 'rbind'],
  ['remount'],
];
const DATA_KEYS = new Set(['size', 'mode', 'uid', 'gid', 'nr_inodes', 'nr_blocks', 'mpol', 'huge']);

/** Joins options of a tmpfs; of contradicting ones the last holds. Throws invalid on one that tmpfs does not know. */
export function mergeTmpfsOptions(options: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const option of options) {
    const key = option.split('=', 1)[0]!;
    const group = FLAG_GROUPS.find((flags) => flags.includes(option));
    if (!group && !(option.includes('=') && DATA_KEYS.has(key))) throw invalid(`invalid tmpfs option "${option}"`);
    const slot = group ? group[0]! : key;
    merged.delete(slot);
    merged.set(slot, option);
  }
  return [...merged.values()];
}

const depth = (path: string): number => path.split('/').filter(Boolean).length;

/** Outer mounts before what lies in them. */
const byDepth = (a: ContainerMount, b: ContainerMount): number => depth(a.destination) - depth(b.destination);

function remainingDefaults(input: MountInput, user: ReadonlySet<string>): SpecMount[] {
  return defaultMounts()
    .filter(({ destination }) => {
      if (user.has(destination)) return false;
      if (user.has('/dev') && destination.startsWith('/dev/')) return false;
      return destination !== '/dev/shm' || input.settings.IpcMode !== 'none';
    })
    .map((mount) =>
      mount.destination === '/dev/shm' ? { ...mount, options: [...mount.options, `size=${input.shmSize}`] } : mount,
    );
}

type Bind = Extract<ContainerMount, { kind: 'bind' }>;

function readOnlyOption(mount: Bind, kernelVersion: string): string[] {
  if (mount.readOnlyForceRecursive && (mount.writable || mount.readOnlyNonRecursive)) {
    const other = mount.writable ? '!ReadOnly' : 'ReadOnlyNonRecursive';
    throw invalid(`mount options conflict: ${other} && BindOptions.ReadOnlyForceRecursive`);
  }
  if (mount.writable) return [];
  const able = kernelAtLeast(kernelVersion, '5.12');
  if (!able && mount.readOnlyForceRecursive) {
    throw invalid('rro is not supported: kernel does not support recursive read-only mounts, needs 5.12 or later');
  }
  return [able && !mount.readOnlyNonRecursive ? 'rro' : 'ro'];
}

/** A shared or slave bind needs a source that is; one of the daemon's own tree falls back to private. */
function checkedPropagation(mount: Bind, input: MountInput): Propagation | '' {
  const wanted = mount.propagation || '';
  const has = input.propagation.get(mount.source) ?? 'private';
  const refuse = (what: string): never => {
    throw invalid(`path ${mount.source} is mounted on a mount that is not ${what}`, { code: 'propagation' });
  };
  if (wanted.endsWith('shared') && has !== 'shared') return refuse('a shared mount');
  if (wanted.endsWith('slave') && has !== 'shared' && has !== 'slave') {
    const own = mount.source.startsWith(input.dataRoot) || input.dataRoot.startsWith(mount.source);
    return own && !mount.explicitPropagation ? '' : refuse('a shared or slave mount');
  }
  return wanted;
}

function userMount(mount: ContainerMount, input: MountInput): SpecMount {
  if (mount.kind === 'tmpfs') {
    const given = mount.options ? mount.options.split(',') : [];
    const options = mergeTmpfsOptions(['noexec', 'nosuid', 'nodev', 'rprivate', ...given]);
    return { destination: mount.destination, type: 'tmpfs', source: 'tmpfs', options };
  }
  const propagation = checkedPropagation(mount, input);
  return {
    destination: mount.destination,
    type: 'bind',
    source: mount.source,
    options: [
      mount.nonRecursive ? 'bind' : 'rbind',
      ...readOnlyOption(mount, input.kernelVersion),
      ...(propagation ? [propagation] : []),
    ],
  };
}

/** The root's own propagation has to let through what a mount in it is to share. */
export function rootPropagation(mounts: readonly SpecMount[]): string | undefined {
  const has = (suffix: string): boolean =>
    mounts.some(({ options }) => options.some((option) => option.endsWith(suffix)));
  return has('shared') ? 'shared' : has('slave') ? 'rslave' : undefined;
}

const WRITABLE_WITH_READONLY_ROOT = new Set(['/proc', '/dev/pts', '/dev/shm', '/dev/mqueue', '/dev']);

const withoutReadOnly = (mount: SpecMount): SpecMount => ({
  ...mount,
  options: mount.options.filter((option) => option !== 'ro'),
});

export function containerMounts(input: MountInput): SpecMount[] {
  const sorted = [...input.mounts].sort(byDepth);
  const user = new Set(sorted.map((mount) => mount.destination));
  const init: SpecMount[] = input.initPath
    ? [{ destination: INIT_IN_CONTAINER, type: 'bind', source: input.initPath, options: ['bind', 'ro'] }]
    : [];
  const defaults = [...remainingDefaults(input, user), ...init].map((mount) => {
    if (input.settings.Privileged && mount.destination === '/sys') return withoutReadOnly(mount);
    if (input.writableCgroups && mount.type === 'cgroup') return withoutReadOnly(mount);
    const tighten = input.settings.ReadonlyRootfs && !WRITABLE_WITH_READONLY_ROOT.has(mount.destination);
    return tighten && !mount.options.includes('ro') ? { ...mount, options: [...mount.options, 'ro'] } : mount;
  });
  return [...defaults, ...sorted.map((mount) => userMount(mount, input))];
}

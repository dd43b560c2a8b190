/**
 * Everything of the host that a container's spec depends on, read before the spec is built so that building is pure:
 * device numbers, propagation of bind sources, the init binary, the daemon's seccomp profile, CDI devices.
 */
import { existsSync, lstatSync, realpathSync, statSync } from 'node:fs';
import { access, constants, lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../../config/config.ts';
import { internal, invalid } from '../../errors.ts';
import { isErrno, major, minor, S_IFMT } from '../../host/ffi.ts';
import { mountOf, readMountInfo } from '../../host/mountinfo.ts';
import { requestedEdits } from './cdi.ts';
import { type CdiEdits, readCdiRegistry } from './cdi-registry.ts';
import { DEFAULT_SYSCTLS } from './defaults.ts';
import type { FoundDevice } from './devices.ts';
import { type DeviceMapping, type HostSettings, present } from './docker-types.ts';
import type { ContainerMount } from './mounts.ts';
import { wantsInit } from './process.ts';
import { type BlockDevices, blockDevicePaths } from './resources.ts';
import type { Device } from './spec-types.ts';

export interface HostSide {
  devices: readonly FoundDevice[];
  /** All of the host's /dev, for privileged containers; else empty. */
  hostDevices: readonly Device[];
  blockDevices: BlockDevices;
  propagation: ReadonlyMap<string, string>;
  /** Set when the container gets an init. */
  initPath: string | undefined;
  /** The daemon's profile: `` for ours, `unconfined`, or the text of a file. */
  seccomp: string;
  /** Default sysctls this kernel knows. */
  sysctls: Readonly<Record<string, string>>;
  cdi: readonly CdiEdits[];
}

export type HostSideConfig = Pick<Config, 'init' | 'initPath' | 'seccompProfile' | 'cdiSpecDirs'>;

export async function readHostSide(
  settings: HostSettings,
  mounts: readonly ContainerMount[],
  config: HostSideConfig,
): Promise<HostSide> {
  const [devices, hostDevices, blockDevices, propagation, initPath, seccomp, cdi] = await Promise.all([
    findDevices(present(settings.Devices), Boolean(settings.Privileged)),
    settings.Privileged ? listDevices('/dev') : [],
    findBlockDevices(settings),
    findPropagation(mounts),
    wantsInit(settings, config) ? findInit(config.initPath) : undefined,
    readSeccomp(config.seccompProfile),
    findCdi(settings, config),
  ]);
  return { devices, hostDevices, blockDevices, propagation, initPath, seccomp, sysctls: knownSysctls(), cdi };
}

function deviceOf(path: string, info: { mode: number; rdev: number; uid: number; gid: number }): Device | undefined {
  const type = ({ 0o020000: 'c', 0o060000: 'b' } as const)[info.mode & S_IFMT];
  if (!type) return undefined;
  const numbers = { major: major(info.rdev), minor: minor(info.rdev) };
  return { type, path, ...numbers, fileMode: info.mode & 0o7777, uid: info.uid, gid: info.gid };
}

/** Parts of /dev that belong to a namespace, or are not devices at all. */
const SKIPPED = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev', 'console']);

async function listDevices(directory: string, inContainer = directory): Promise<Device[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      if (SKIPPED.has(entry.name)) return [];
      const [outside, inside] = [join(directory, entry.name), join(inContainer, entry.name)];
      if (entry.isDirectory()) return listDevices(outside, inside).catch((): Device[] => []);
      const device = await lstat(outside).then(
        (info) => deviceOf(inside, info),
        () => undefined,
      );
      return device ? [device] : [];
    }),
  );
  return found.flat();
}

async function findDevice(mapping: DeviceMapping, privileged: boolean): Promise<FoundDevice[]> {
  const onHost = mapping.PathOnHost ?? '';
  const inContainer = mapping.PathInContainer || onHost;
  const permissions = privileged ? 'rwm' : mapping.CgroupPermissions || 'rwm';
  const wrap = (device: Device): FoundDevice => ({ device, access: permissions, samePath: onHost === inContainer });
  const failed = (why: string): Error =>
    invalid(`error gathering device information while adding custom device "${onHost}": ${why}`);
  const real = await realpath(onHost).catch(() => {
    throw failed('no such file or directory');
  });
  const info = await stat(real);
  const device = deviceOf(inContainer, info);
  if (device) return [wrap(device)];
  const inside = info.isDirectory() ? await listDevices(real, inContainer) : [];
  if (!inside.length) throw failed('not a device node');
  return inside.map(wrap);
}

async function findDevices(mappings: readonly DeviceMapping[], privileged: boolean): Promise<FoundDevice[]> {
  return (await Promise.all(mappings.map((mapping) => findDevice(mapping, privileged)))).flat();
}

export async function findBlockDevices(settings: HostSettings): Promise<BlockDevices> {
  const found = new Map<string, { major: number; minor: number }>();
  for (const path of new Set(blockDevicePaths(settings))) {
    const info = await stat(path).catch((error: unknown) => {
      throw invalid(`stat ${path}: no such file or directory`, { cause: error });
    });
    found.set(path, { major: major(info.rdev), minor: minor(info.rdev) });
  }
  return found;
}

/** Only asked when a mount wants to share: mountinfo is long on a busy host. */
async function findPropagation(mounts: readonly ContainerMount[]): Promise<Map<string, string>> {
  const sharing = mounts.filter((mount) => mount.kind === 'bind' && /shared|slave/.test(mount.propagation ?? ''));
  const found = new Map<string, string>();
  if (!sharing.length) return found;
  const table = await readMountInfo();
  for (const mount of sharing) {
    if (mount.kind !== 'bind') continue;
    const real = await realpath(mount.source).catch(() => mount.source);
    found.set(mount.source, mountOf(table, real)?.propagation ?? 'private');
  }
  return found;
}

const INIT_NAMES = ['docker-init', 'tini-static', 'tini', 'catatonit'];
const INIT_DIRECTORIES = ['/usr/local/libexec/docker', '/usr/libexec/docker', '/usr/lib/docker', '/usr/libexec/podman'];

/** Any small init does that takes `-- command`. */
async function findInit(configured: string): Promise<string> {
  const directories = [...INIT_DIRECTORIES, ...(process.env.PATH ?? '/usr/bin:/bin').split(':').filter(Boolean)];
  const named = configured && !configured.includes('/');
  const candidates =
    configured && !named
      ? [configured]
      : (named ? [configured] : INIT_NAMES).flatMap((name) => directories.map((directory) => join(directory, name)));
  for (const candidate of candidates) {
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return realpath(candidate);
  }
  throw internal(`exec: "${configured || 'docker-init'}": executable file not found in $PATH`);
}

async function readSeccomp(choice: string): Promise<string> {
  if (choice === '' || choice === 'builtin') return '';
  if (choice === 'unconfined') return choice;
  return readFile(choice, 'utf8').catch((error: unknown) => {
    throw internal(`opening seccomp profile (${choice}) failed: ${(error as Error).message}`, { cause: error });
  });
}

let sysctls: Readonly<Record<string, string>> | undefined;

/** A runtime fails on a sysctl that is not there. */
function knownSysctls(): Readonly<Record<string, string>> {
  sysctls ??= Object.fromEntries(
    Object.entries(DEFAULT_SYSCTLS).filter(([name]) => existsSync(`/proc/sys/${name.replaceAll('.', '/')}`)),
  );
  return sysctls;
}

async function findCdi(settings: HostSettings, config: HostSideConfig): Promise<CdiEdits[]> {
  if (!settings.DeviceRequests?.length) return [];
  const edits = requestedEdits(present(settings.DeviceRequests), await readCdiRegistry(config.cdiSpecDirs));
  return edits.map((edit) => ({ ...edit, deviceNodes: edit.deviceNodes?.map(numbered) }));
}

/** A CDI node may leave its numbers to the host's node. */
function numbered(node: NonNullable<CdiEdits['deviceNodes']>[number]) {
  if (node.type && node.major !== undefined && node.minor !== undefined) return node;
  const path = node.hostPath ?? node.path;
  try {
    const device = deviceOf(node.path, statSync(lstatSync(path).isSymbolicLink() ? realpathSync(path) : path));
    if (device) return { ...device, ...node, type: device.type, major: device.major, minor: device.minor };
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  throw internal(`CDI device injection failed: failed to stat CDI host device "${path}": no such file or directory`);
}

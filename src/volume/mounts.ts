/**
 * What a container mounts, from Docker's Binds, Mounts, Tmpfs, Volumes and VolumesFrom: parsed and checked with dockerd's
 * words into mount points, which the container's record keeps. Pure; resolve.ts brings them onto the host.
 */
import { posix } from 'node:path';
import { type DaemonError, invalid } from '../errors.ts';
import { isLocalPath, mountOptionsText, parseModes, type Propagation, PROPAGATIONS } from './mount-modes.ts';

type Maybe<T> = T | null | undefined;

/** Docker's Mount, as clients send it. */
export interface MountSpec {
  Type?: Maybe<string>;
  Source?: Maybe<string>;
  Target?: Maybe<string>;
  ReadOnly?: Maybe<boolean>;
  Consistency?: Maybe<string>;
  BindOptions?: Maybe<{
    Propagation?: Maybe<string>;
    NonRecursive?: Maybe<boolean>;
    CreateMountpoint?: Maybe<boolean>;
    ReadOnlyNonRecursive?: Maybe<boolean>;
    ReadOnlyForceRecursive?: Maybe<boolean>;
  }>;
  VolumeOptions?: Maybe<{
    NoCopy?: Maybe<boolean>;
    Labels?: Maybe<Record<string, string>>;
    DriverConfig?: Maybe<{ Name?: Maybe<string>; Options?: Maybe<Record<string, string>> }>;
    Subpath?: Maybe<string>;
  }>;
  TmpfsOptions?: Maybe<{ SizeBytes?: Maybe<number>; Mode?: Maybe<number>; Options?: Maybe<(string[] | null)[]> }>;
  ImageOptions?: Maybe<{ Subpath?: Maybe<string> }>;
  ClusterOptions?: Maybe<object>;
}

/** A mount point of a container, decided and kept in its record. JSON-able. */
export interface MountPoint {
  type: 'bind' | 'volume' | 'tmpfs' | 'image';
  destination: string;
  /** bind: the path on the host; image: the reference, and in a container's record where it is mounted; else ''. */
  source: string;
  /** The volume, '' until an anonymous one has been named; in a container's record the image as it was called. */
  name: string;
  /** Id of the image, in a container's record. */
  image?: string;
  driver: string;
  /** As written after the second colon of a bind; local volumes show `z` where nothing was written. */
  mode: string;
  /** Shown by inspect: all but HostConfig.Tmpfs. */
  listed: boolean;
  writable: boolean;
  propagation: Propagation | '';
  explicitPropagation: boolean;
  nonRecursive: boolean;
  readOnlyNonRecursive: boolean;
  readOnlyForceRecursive: boolean;
  /** An empty volume takes what the image has there. */
  copy: boolean;
  /** A missing bind source is made, as a directory. */
  createSource: boolean;
  subpath: string;
  tmpfs: string;
  /** The volume goes with the container when that is removed with its volumes. */
  anonymous: boolean;
  volumeOptions: Record<string, string>;
  volumeLabels: Record<string, string>;
}

const blank = (type: MountPoint['type'], destination: string): MountPoint => ({
  type,
  destination: cleanPath(destination),
  source: '',
  name: '',
  driver: '',
  mode: '',
  listed: true,
  writable: true,
  propagation: '',
  explicitPropagation: false,
  nonRecursive: false,
  readOnlyNonRecursive: false,
  readOnlyForceRecursive: false,
  copy: false,
  createSource: false,
  subpath: '',
  tmpfs: '',
  anonymous: false,
  volumeOptions: {},
  volumeLabels: {},
});

const labelMode = (driver: string): string => (driver === '' || driver === 'local' ? 'z' : '');

const cleanPath = (path: string): string => posix.normalize(path).replace(/(.)\/+$/, '$1');

function checkTarget(target: string, where = ''): void {
  if (posix.normalize(target) === '/') throw invalid(`${where}invalid specification: destination can't be '/'`);
  if (!target.startsWith('/')) throw invalid(`${where}invalid mount path: '${target}' mount path must be absolute`);
}

/** `src:dst[:modes]`: a path on the host, or the name of a volume; `dst` alone is an anonymous volume. */
export function parseBind(raw: string, volumeDriver = ''): MountPoint {
  const parts = raw.split(':');
  const [first = '', second = '', modes = ''] = parts;
  const bad = (why?: DaemonError): DaemonError =>
    invalid(`invalid volume specification: '${raw}'${why ? `: ${why.message}` : ''}`, { cause: why });
  if (first === '' || parts.length > 3) throw bad();
  // A name with a mode but no destination.
  if (parts.length === 2 && parseModes(second)) throw bad();
  const mode = parseModes(modes);
  if (!mode) throw invalid(`invalid mode: ${modes}`);
  const [source, target] = parts.length === 1 ? ['', first] : [first, second];
  try {
    if (target === '') throw invalid('invalid mount config for type "bind": field Target must not be empty');
    const type = source.startsWith('/') ? 'bind' : 'volume';
    checkTarget(target, `invalid mount config for type "${type}": `);
  } catch (error) {
    throw bad(error as DaemonError);
  }
  if (source.startsWith('/')) {
    return {
      ...blank('bind', target),
      source: cleanPath(source),
      mode: modes,
      writable: mode.writable,
      propagation: mode.propagation ?? 'rprivate',
      explicitPropagation: mode.propagation !== undefined,
      createSource: true,
    };
  }
  return {
    ...blank('volume', target),
    name: source,
    driver: volumeDriver,
    mode: modes || labelMode(volumeDriver),
    writable: mode.writable,
    copy: mode.copy,
    anonymous: source === '',
  };
}

/** Option groups belong to one type each. */
const OPTIONS_OF = {
  BindOptions: 'bind',
  VolumeOptions: 'volume',
  ImageOptions: 'image',
  TmpfsOptions: 'tmpfs',
  ClusterOptions: 'cluster',
} as const;

export function parseMount(spec: MountSpec): MountPoint {
  for (const [field, type] of Object.entries(OPTIONS_OF)) {
    if (type !== spec.Type && spec[field as keyof typeof OPTIONS_OF])
      throw invalid(`${field} must not be specified on mount type "${spec.Type ?? ''}"`);
  }
  try {
    return mountPointOf(spec);
  } catch (error) {
    const reason = (error as DaemonError).message;
    throw invalid(`invalid mount config for type "${spec.Type ?? ''}": ${reason}`, { cause: error });
  }
}

function mountPointOf(spec: MountSpec): MountPoint {
  const target = spec.Target ?? '';
  if (target === '') throw invalid('field Target must not be empty');
  checkTarget(target);
  switch (spec.Type) {
    case 'bind':
      return bindOf(spec, target);
    case 'volume':
      return volumeOf(spec, target);
    case 'tmpfs':
      if (spec.Source) throw invalid('field Source must not be specified');
      return { ...blank('tmpfs', target), writable: !spec.ReadOnly, tmpfs: tmpfsText(spec) };
    case 'image':
      return imageOf(spec, target);
    default:
      throw invalid('mount type unknown');
  }
}

function bindOf(spec: MountSpec, target: string): MountPoint {
  const source = spec.Source ?? '';
  const options = spec.BindOptions ?? {};
  const propagation = options.Propagation ?? '';
  if (source === '') throw invalid('field Source must not be empty');
  if (propagation && !PROPAGATIONS.has(propagation)) throw invalid(`invalid propagation mode: ${propagation}`);
  if (!source.startsWith('/')) throw invalid(`invalid mount path: '${source}' mount path must be absolute`);
  return {
    ...blank('bind', target),
    source: cleanPath(source),
    writable: !spec.ReadOnly,
    propagation: (propagation as Propagation) || 'rprivate',
    explicitPropagation: propagation !== '',
    nonRecursive: Boolean(options.NonRecursive),
    readOnlyNonRecursive: Boolean(options.ReadOnlyNonRecursive),
    readOnlyForceRecursive: Boolean(options.ReadOnlyForceRecursive),
    createSource: Boolean(options.CreateMountpoint),
  };
}

function volumeOf(spec: MountSpec, target: string): MountPoint {
  const options = spec.VolumeOptions ?? {};
  const name = spec.Source ?? '';
  const subpath = options.Subpath ?? '';
  const driver = options.DriverConfig?.Name ?? '';
  if (subpath && name === '') throw invalid('must not set Subpath when using anonymous volumes');
  if (subpath && !isLocalPath(subpath)) throw invalid('subpath must be a relative path within the volume');
  return {
    ...blank('volume', target),
    name,
    driver,
    mode: labelMode(driver),
    writable: !spec.ReadOnly,
    copy: !options.NoCopy,
    subpath,
    anonymous: name === '',
    volumeOptions: { ...options.DriverConfig?.Options },
    volumeLabels: { ...options.Labels },
  };
}

function imageOf(spec: MountSpec, target: string): MountPoint {
  const source = spec.Source ?? '';
  const subpath = spec.ImageOptions?.Subpath ?? '';
  if (source === '') throw invalid('field Source must not be empty');
  if (subpath && !isLocalPath(subpath)) throw invalid('subpath must be a relative path within the volume');
  return { ...blank('image', target), source, writable: false, propagation: 'rprivate', subpath };
}

const tmpfsText = (spec: MountSpec): string => mountOptionsText(spec.TmpfsOptions ?? {}, Boolean(spec.ReadOnly));

/** `container[:ro|rw]` → whose mount points are taken over, and whether they may be written. */
export function parseVolumesFrom(spec: string): { container: string; writable: boolean } {
  if (spec === '') throw invalid('volumes-from specification cannot be an empty string');
  const at = spec.indexOf(':');
  const [container, modes] = at < 0 ? [spec, 'rw'] : [spec.slice(0, at), spec.slice(at + 1)];
  const mode = parseModes(modes);
  // What a container already has is neither copied into nor shared anew.
  if (!mode || mode.propagation || mode.explicitCopy) throw invalid(`invalid mode: ${modes}`);
  return { container, writable: mode.writable };
}

export interface MountRequest {
  binds?: Maybe<readonly string[]>;
  mounts?: Maybe<readonly (MountSpec | null)[]>;
  /** Destination → options. */
  tmpfs?: Maybe<Readonly<Record<string, string>>>;
  volumeDriver?: Maybe<string>;
  /** Config.Volumes, of client and image: anonymous volumes where nothing else is mounted. */
  volumes?: Maybe<Readonly<Record<string, unknown>>>;
  /** Mount points of the containers of VolumesFrom, in order. */
  inherited?: readonly { points: readonly MountPoint[]; writable: boolean }[];
}

/** All mount points of a container. Binds and mounts put themselves over inherited ones, never over each other. */
export function planMounts(request: MountRequest): MountPoint[] {
  const points = new Map<string, MountPoint>();
  for (const { points: theirs, writable } of request.inherited ?? []) {
    for (const point of theirs) {
      if (point.type === 'tmpfs') continue;
      points.set(point.destination, { ...point, writable: point.writable && writable, copy: false, anonymous: false });
    }
  }
  const own = new Set<string>();
  const add = (point: MountPoint): void => {
    if (own.has(point.destination)) throw invalid(`Duplicate mount point: ${point.destination}`);
    own.add(point.destination);
    points.set(point.destination, point);
  };
  for (const raw of request.binds ?? []) add(parseBind(raw, request.volumeDriver ?? ''));
  for (const [target, options] of Object.entries(request.tmpfs ?? {})) {
    checkTarget(target);
    add({ ...blank('tmpfs', target), tmpfs: options, writable: !options.split(',').includes('ro'), listed: false });
  }
  for (const spec of request.mounts ?? []) if (spec) add(parseMount(spec));
  for (const given of Object.keys(request.volumes ?? {})) {
    // An image may name its volume by a path from the root.
    const target = posix.join('/', given);
    checkTarget(target);
    const point = { ...blank('volume', target), driver: request.volumeDriver ?? '', copy: true, anonymous: true };
    if (!points.has(point.destination)) points.set(point.destination, point);
  }
  return [...points.values()];
}

/** Docker's MountPoint, as inspect and list show it. */
export interface MountView {
  Type: string;
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
}

/** `volume` knows where a volume lies on the host, and its driver. */
export function viewMounts(
  points: readonly MountPoint[],
  volume: (name: string) => { path: string; driver: string },
): MountView[] {
  return points
    .filter((point) => point.listed)
    .map((point) => {
      const known = point.type === 'volume' ? volume(point.name) : undefined;
      return {
        Type: point.type,
        ...(known || point.image ? { Name: point.name } : {}),
        Source: known?.path ?? point.source,
        Destination: point.destination,
        ...(known ? { Driver: known.driver } : {}),
        Mode: point.mode,
        RW: point.writable,
        Propagation: point.propagation,
      };
    });
}

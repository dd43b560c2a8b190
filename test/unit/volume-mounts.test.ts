import { describe, expect, test } from 'vitest';
import {
  type MountSpec,
  parseBind,
  parseMount,
  parseVolumesFrom,
  planMounts,
  viewMounts,
} from '../../src/volume/mounts.ts';

describe('a bind', () => {
  test('is a path, a named volume or an anonymous one', () => {
    expect(parseBind('/src/../a:/b/:ro,rslave')).toMatchObject({
      type: 'bind',
      source: '/a',
      destination: '/b',
      writable: false,
      propagation: 'rslave',
      explicitPropagation: true,
      createSource: true,
    });
    expect(parseBind('data:/b:nocopy')).toMatchObject({ type: 'volume', name: 'data', copy: false, mode: 'nocopy' });
    expect(parseBind('data:/b')).toMatchObject({ mode: 'z', copy: true, anonymous: false });
    expect(parseBind('/only', 'shop')).toMatchObject({
      type: 'volume',
      name: '',
      destination: '/only',
      driver: 'shop',
      anonymous: true,
    });
    expect(parseBind('/a:/b')).toMatchObject({ propagation: 'rprivate', explicitPropagation: false });
  });

  test.each([
    ['', "invalid volume specification: ''"],
    ['/a:ro', "invalid volume specification: '/a:ro'"],
    ['/a:/b:/c:/d', 'invalid volume specification'],
    ['/a:/b:ro,rw', 'invalid mode: ro,rw'],
    ['/a:/b:sideways', 'invalid mode: sideways'],
    ['/a:/', "destination can't be '/'"],
    ['data:relative', "'relative' mount path must be absolute"],
  ])('%j is refused', (raw, message) => {
    expect(() => parseBind(raw)).toThrow(message);
  });
});

describe('a mount', () => {
  test('of each type keeps what it was asked', () => {
    expect(
      parseMount({
        Type: 'volume',
        Source: 'v',
        Target: '/t',
        VolumeOptions: { NoCopy: true, Subpath: 'a/b', Labels: { x: '1' } },
      }),
    ).toMatchObject({ name: 'v', copy: false, subpath: 'a/b', volumeLabels: { x: '1' } });
    expect(
      parseMount({ Type: 'bind', Source: '/s', Target: '/t', ReadOnly: true, BindOptions: { NonRecursive: true } }),
    ).toMatchObject({ writable: false, nonRecursive: true, createSource: false });
    const tmpfs = { SizeBytes: 3 << 20, Mode: 0o1770, Options: [['exec']] };
    expect(parseMount({ Type: 'tmpfs', Target: '/t', ReadOnly: true, TmpfsOptions: tmpfs }).tmpfs).toBe(
      'ro,mode=1770,size=3m,exec',
    );
    expect(parseMount({ Type: 'image', Source: 'busybox', Target: '/t' })).toMatchObject({
      source: 'busybox',
      writable: false,
    });
  });

  test.each<[MountSpec, string]>([
    [{ Type: 'bind', Target: '/t' }, 'invalid mount config for type "bind": field Source must not be empty'],
    [{ Type: 'bind', Source: 'rel', Target: '/t' }, "invalid mount path: 'rel' mount path must be absolute"],
    [
      { Type: 'bind', Source: '/s', Target: '/t', BindOptions: { Propagation: 'odd' } },
      'invalid propagation mode: odd',
    ],
    [{ Type: 'volume', Source: 'v' }, 'field Target must not be empty'],
    [
      { Type: 'volume', Target: '/t', VolumeOptions: { Subpath: 'a' } },
      'must not set Subpath when using anonymous volumes',
    ],
    [
      { Type: 'volume', Source: 'v', Target: '/t', VolumeOptions: { Subpath: '../x' } },
      'subpath must be a relative path',
    ],
    [{ Type: 'volume', Source: 'v', Target: '/t', BindOptions: {} }, 'BindOptions must not be specified on mount type "volume"'],
    [{ Type: 'tmpfs', Source: 'x', Target: '/t' }, 'field Source must not be specified'],
    [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: { Options: [['dev']] } }, 'invalid option: dev'],
    [{ Type: 'npipe', Target: '/t' }, 'mount type unknown'],
  ])('%j is refused', (spec, message) => {
    expect(() => parseMount(spec)).toThrow(message);
  });
});

test('mount points put themselves over inherited ones and volumes of the image, never over each other', () => {
  const inherited = planMounts({ binds: ['/a:/a', 'v:/v'], volumes: { '/anon': {} } });
  const points = planMounts({
    inherited: [{ points: inherited, writable: false }],
    binds: ['/mine:/a'],
    tmpfs: { '/run': 'size=1m' },
    volumes: { '/v/': {}, '/fresh': {} },
  });
  const short = points.map(({ destination, type, source, name, writable, anonymous }) =>
    [destination, type, source || name, writable, anonymous].join(' '),
  );
  expect(short).toEqual([
    '/a bind /mine true false',
    '/v volume v false false',
    '/anon volume  false false',
    '/run tmpfs  true false',
    '/fresh volume  true true',
  ]);
  expect(() => planMounts({ binds: ['/a:/x'], mounts: [{ Type: 'tmpfs', Target: '/x/' }] })).toThrow(
    'Duplicate mount point: /x',
  );
});

test('inspect shows volumes with their path and driver, and no entry of HostConfig.Tmpfs', () => {
  const points = planMounts({
    binds: ['v:/v', '/h:/h:ro'],
    tmpfs: { '/run': '' },
    mounts: [{ Type: 'tmpfs', Target: '/t' }],
  });
  expect(viewMounts(points, () => ({ path: '/vols/v/_data', driver: 'local' }))).toEqual([
    {
      Type: 'volume',
      Name: 'v',
      Source: '/vols/v/_data',
      Destination: '/v',
      Driver: 'local',
      Mode: 'z',
      RW: true,
      Propagation: '',
    },
    { Type: 'bind', Source: '/h', Destination: '/h', Mode: 'ro', RW: false, Propagation: 'rprivate' },
    { Type: 'tmpfs', Source: '', Destination: '/t', Mode: '', RW: true, Propagation: '' },
  ]);
});

test('volumes-from takes ro and rw, and nothing that would change what the other has', () => {
  expect(parseVolumesFrom('c:ro')).toEqual({ container: 'c', writable: false });
  expect(parseVolumesFrom('c')).toEqual({ container: 'c', writable: true });
  expect(() => parseVolumesFrom('c:nocopy')).toThrow('invalid mode: nocopy');
  expect(() => parseVolumesFrom('')).toThrow('cannot be an empty string');
});

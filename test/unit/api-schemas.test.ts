import { expect, test } from 'vitest';
import { check } from '../../src/api/validate.ts';
import { defaultConfig } from '../../src/config/defaults.ts';
import { options } from '../../src/config/options.ts';
import { schemas, type SchemaName } from '../../src/generated/schemas.ts';
import { buildSpec } from '../../src/runtime/oci/spec.ts';
import { testHost } from '../support/deps.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: 7 };

test('every schema compiles, with what it refers to', () => {
  for (const name of Object.keys(schemas) as SchemaName[]) expect(() => check(name, 7)).toThrow(/^invalid JSON: /);
});

test('documents of an image pass, and wrong ones tell where', () => {
  check('oci-image-index', {
    schemaVersion: 2,
    manifests: [{ ...descriptor, platform: { architecture: 'amd64', os: 'linux' } }],
  });
  check('oci-image-manifest', { schemaVersion: 2, config: descriptor, layers: [descriptor], more: true });
  check('oci-image-config', {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digest] },
    config: { Cmd: null },
  });
  expect(() => check('oci-image-index', { schemaVersion: 2, manifests: [{ ...descriptor, size: '7' }] })).toThrow(
    'invalid JSON: manifests.0.size must be integer',
  );
  expect(() => check('oci-image-manifest', { schemaVersion: 1, config: descriptor, layers: [] })).toThrow(
    /schemaVersion/,
  );
});

test('an integer that 64 bits cannot hold is refused', () => {
  const event = {
    Type: 'a',
    Action: 'b',
    Actor: { ID: 'c', Attributes: {} },
    scope: 'local',
    time: 1e300,
    timeNano: 1,
  };
  expect(() => check('event-message', event)).toThrow(/^invalid JSON: time must be <= 92233720368547/);
});

test('daemon.json has exactly the keys that the daemon takes', () => {
  const { properties } = JSON.parse(schemas.daemon) as { properties: object };
  expect(Object.keys(properties).sort()).toEqual(options.flatMap(({ file }) => (file ? [file] : [])).sort());
});

test('the runtime configuration that we write is one that the specification knows', () => {
  const spec = buildSpec({
    id: 'c1',
    config: { Hostname: 'box', Env: ['A=1'], WorkingDir: '/srv' },
    hostConfig: { Memory: 64 << 20, PidsLimit: 10, Ulimits: [{ Name: 'nofile', Soft: 1024, Hard: 2048 }] },
    args: ['sleep', '1'],
    user: { uid: 1000, gid: 1000, additionalGids: [] },
    host: testHost,
    daemon: defaultConfig,
    side: {
      devices: [],
      hostDevices: [],
      blockDevices: new Map(),
      propagation: new Map(),
      initPath: undefined,
      seccomp: '',
      sysctls: {},
      cdi: [],
    },
    netnsPath: '/run/netns/c1',
    mounts: [],
  });
  check('oci-runtime-config', JSON.parse(JSON.stringify(spec)));
});

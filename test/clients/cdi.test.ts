/** Devices of vendors by CDI specs, in JSON as in YAML, with the real CLI: `--device vendor.com/class=name`, `docker info`. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

const specs = join(tmpdir(), `reactord-cdi-${process.pid}`);
const YAML = `
cdiVersion: 0.6.0
kind: example.com/sensor
containerEdits:
  env: ["SENSORS=yes"]
devices:
  - name: all
    containerEdits:
      deviceNodes:
        - path: /dev/sensor
          hostPath: /dev/zero
          fileMode: 0640
          uid: 7
      mounts:
        - hostPath: /etc/hostname
          containerPath: /sensor/name
          options: [ro, bind]
`;
const JSON_SPEC = {
  cdiVersion: '0.6.0',
  kind: 'example.com/clock',
  devices: [{ name: '0', containerEdits: { env: ['CLOCK=0'] } }],
};

let daemon: TestDaemon;
beforeAll(async () => {
  mkdirSync(specs);
  daemon = await startDaemon({ flags: ['--cdi-spec-dir', specs] });
});
afterAll(async () => {
  await stopClean(daemon);
  rmSync(specs, { recursive: true });
});

const devices = (): string[] =>
  JSON.parse(daemon.ok('info', '-f', '{{json .DiscoveredDevices}}')).map(({ ID }: { ID: string }) => ID);

test('specs are found while the daemon runs, and told by info; one that is no spec is a warning', () => {
  expect(devices()).toEqual([]);
  writeFileSync(join(specs, 'sensor.yaml'), YAML);
  writeFileSync(join(specs, 'clock.json'), JSON.stringify(JSON_SPEC));
  expect(devices()).toEqual(['example.com/clock=0', 'example.com/sensor=all']);
  writeFileSync(join(specs, 'bad.yml'), 'kind: [');
  expect(daemon.ok('info', '-f', '{{json .Warnings}}')).toContain(`WARNING: CDI spec ${specs}/bad.yml: `);
  expect(devices()).toHaveLength(2);
});

test('a device brings its node, mount and environment', () => {
  const both = ['--device', 'example.com/sensor=all', '--device', 'example.com/clock=0'];
  const look =
    'stat -c "%a %u %t:%T" /dev/sensor; head -c 3 /dev/sensor | wc -c; cat /sensor/name; echo $SENSORS $CLOCK';
  const [node, bytes, name, environment] = daemon
    .ok('run', '--rm', '--network', 'none', ...both, daemon.image, 'sh', '-c', look)
    .split('\n');
  expect(node).toBe('640 7 1:5');
  expect(bytes).toBe('3');
  expect(name).toBe(daemon.inside('cat', '/etc/hostname').stdout.trim());
  expect(environment).toBe('yes 0');
});

test('a device that no spec describes is refused by name', () => {
  const { code, stderr } = daemon.docker('run', '--rm', '--device', 'example.com/sensor=none', daemon.image, 'true');
  expect(code).toBe(125);
  expect(stderr).toContain('CDI device injection failed: unresolvable CDI devices example.com/sensor=none');
});

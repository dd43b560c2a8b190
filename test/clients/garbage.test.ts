/** Requests that make no sense, by the hundred and repeatable: each gets an answer, none is the daemon's fault, and it goes on. */
import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

const CALLS = 700;
const SEED = 20;

const ROUTES = `
DELETE /containers/:  DELETE /images/:  DELETE /networks/:  DELETE /volumes/:  GET /containers/:/archive
GET /containers/:/attach/ws  GET /containers/:/changes  GET /containers/:/export  GET /containers/:/json
GET /containers/:/logs  GET /containers/:/stats  GET /containers/:/top  GET /containers/json  GET /events  GET /exec/:/json
GET /images/:/get  GET /images/:/history  GET /images/:/json  GET /images/get  GET /images/json  GET /networks  GET /networks/:
GET /plugins/:/json  GET /reactord/actors  GET /reactord/actors/:/:  GET /reactord/facts  GET /system/df  GET /volumes
GET /volumes/:  POST /build  POST /commit  POST /containers/:/attach  POST /containers/:/exec
POST /containers/:/kill  POST /containers/:/pause  POST /containers/:/rename  POST /containers/:/resize
POST /containers/:/restart  POST /containers/:/start  POST /containers/:/stop  POST /containers/:/unpause
POST /containers/:/update  POST /containers/:/wait  POST /containers/create  POST /exec/:/resize  POST /exec/:/start
POST /images/:/tag  POST /images/load  POST /networks/:/connect  POST /networks/:/disconnect  POST /networks/create
POST /volumes/create  PUT /containers/:/archive`
  .trim()
  .split(/\s{2,}|\n/)
  .map((line) => line.split(' ') as [string, string]);

const NAMES = [
  'run1',
  'new1',
  'busybox',
  'vol1',
  'net1',
  'none',
  '',
  '..',
  '%2e%2e',
  '%00',
  'a%2Fb',
  '%ff',
  '%zz',
  '-1',
];
NAMES.push('x'.repeat(300), 'sha256:abc', '%3Cscript%3E');

const QUERIES = [
  ...['', 'all=x&limit=-5&size=1&filters=%7B%7D', 'filters=[]', 'filters={"label":{"a":1}}', 'h=-1&w=9e99', 'path='],
  ...['path=%00', 'path=../../etc', 'signal=999', 'signal=-1&t=abc', 'since=-5&until=1', 'until=1&since=x', 'tag=%20'],
  ...['condition=x', 'name=%00', 'names=&names=%00', 'type=x', 'stream=1&stdout=1&detachKeys=ctrl-%F0', 'platform=%7B'],
  ...[
    'stdout=1&tail=-5&until=1',
    'stdout=1&tail=abc&since=1e9',
    'repo=%20',
    'platform={"os":1}',
    'remote=x&dockerfile=../x',
  ],
  ...['ps_args=%00', 'container=run1&changes=FOO+bar', 'container=run1&repo=UPPER', 'kind=x&limit=x', 'after=x&id=%00'],
];

const config = (hostConfig: object, more: object = {}): string =>
  JSON.stringify({ Image: 'busybox', HostConfig: hostConfig, ...more });
const BODIES: (string | undefined)[] = [
  ...[undefined, '', '{}', '[]', 'null', '1', '"x"', '{"a":', '{} {}', '{"Image":1}', '{"Cmd":[""]}', '{"Name":""}'],
  ...['{"__proto__":{"x":1},"constructor":1}', '{"username":1}', '{"Detach":true,"Tty":"x"}', '{"Driver":"none"}'],
  ...['{"Name":"../x"}', '{"Name":"v2","DriverOpts":{"type":"x"}}', '{"RestartPolicy":{"Name":"x"}}', '{"Memory":-5}'],
  ...[
    '{"Name":"n2","IPAM":{"Config":[{"Subnet":"x"}]}}',
    '{"Name":"n3","IPAM":{"Config":[null]}}',
    '{"Container":"run1"}',
  ],
  ...['{"Name":"n4","IPAM":{"Config":[{"Subnet":"10.0.0.0/33"}]}}', '{"Container":"none","EndpointConfig":[]}'],
  ...['{"Container":"run1","EndpointConfig":{"IPAMConfig":{"IPv4Address":"1.2.3.4"},"Links":[1]}}'],
  ...['{"Cmd":["true"],"User":"none","WorkingDir":"relative"}', '{"Image":"busybox","Env":["",null]}'],
  ...['{"Image":"busybox","Entrypoint":"sh","ExposedPorts":{"x/y":{}},"Volumes":{"":{}}}'],
  ...[config({ Binds: [null] }), config({ Binds: ['relative:/x:bad'] }), config({ Memory: 1e300 }), config([])],
  ...[config({ PortBindings: { x: [{ HostPort: 'y' }] } }), config({ PortBindings: { '80/tcp': [null] } })],
  ...[
    config({ Mounts: [{}] }),
    config({ Mounts: [{ Type: 'volume', Target: '/' }] }),
    config({ Ulimits: [{ Name: 'x' }] }),
  ],
  ...[config({ ExtraHosts: ['x'], Dns: ['x'] }), config({ Links: ['x'] }), config({ VolumesFrom: ['x'] })],
  ...[
    config({ Sysctls: { x: 'y' } }),
    config({ Devices: [{}] }),
    config({ Runtime: 'x' }),
    config({ IpcMode: 'container:' }),
  ],
  ...[config({ LogConfig: { Type: 'x' } }), config({ LogConfig: { Type: 'json-file', Config: { 'max-size': 'x' } } })],
  ...[config({}, { Healthcheck: { Test: ['X'], Interval: -1 } }), config({}, { Labels: { a: 1 } })],
  ...[
    config({}, { NetworkingConfig: { EndpointsConfig: { net1: null } } }),
    config({}, { Hostname: '\0', User: '0:0:0' }),
  ],
  ...[config({}, { NetworkingConfig: { EndpointsConfig: { net1: { IPAMConfig: { IPv4Address: 'x' } } } } })],
];

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
  daemon.ok('run', '-d', '--name', 'run1', '--stop-signal', 'KILL', 'busybox', 'sleep', '1000');
  daemon.ok('create', '--name', 'new1', 'busybox', 'true');
  daemon.ok('volume', 'create', 'vol1');
  daemon.ok('network', 'create', 'net1');
});
afterAll(() => stopClean(daemon));

/** The status; the answer itself may go on for ever and is let go of. */
const call = (method: string, path: string, body: string | undefined, type: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': type };
    const asking = request({ socketPath: daemon.socket, method, path, headers, agent: false }, (answer) => {
      resolve(answer.statusCode!);
      answer.on('error', () => {});
      answer.destroy();
    });
    asking.on('error', reject);
    asking.end(body);
  });

test(
  `${CALLS} senseless requests all get an answer, and none is a fault of the daemon`,
  { timeout: 180_000 },
  async () => {
    let state = SEED;
    const pick = <T>(from: readonly T[]): T => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return from[(state >>> 8) % from.length]!;
    };
    const statuses = new Map<number, number>();
    for (let index = 0; index < CALLS; index++) {
      const [method, pattern] = pick(ROUTES);
      const path = `${pattern.replace(/:/g, () => pick(NAMES))}?${pick(QUERIES)}`;
      const body = method === 'GET' ? undefined : pick(BODIES);
      const type = pick([
        'application/json',
        'application/json',
        'application/json',
        'text/plain',
        'application/x-tar',
      ]);
      const status = await call(method, path, body, type);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect(daemon.log()).not.toContain('by our fault');
    expect((statuses.get(400) ?? 0) + (statuses.get(404) ?? 0)).toBeGreaterThan(CALLS / 2);
    expect((await daemon.api('GET', '/_ping')).text).toBe('OK');
  },
);

/** Debian's docker-compose (1.29, Python) with a stack: the example's file. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunResult, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { stopClean } from './stop-clean.ts';

const file = join(import.meta.dirname, '../../examples/compose.yaml');

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => stopClean(daemon));

const compose = (...args: string[]): RunResult =>
  daemon.inside('env', `IMAGE=${daemon.image}`, 'WEB_PORT=8099', 'docker-compose', '-p', 'stack', '-f', file, ...args);

test('a stack comes up, serves, is changed, and goes down without a trace', async () => {
  const up = compose('up', '-d');
  expect([up.code, up.stderr]).toEqual([0, expect.stringContaining('Creating stack_web_1')]);
  await eventually(() =>
    daemon.inside('curl', '-s', '--max-time', '3', 'http://127.0.0.1:8099/').stdout.includes('it works'),
  );
  expect(compose('ps', '-q').stdout.trim().split('\n').length).toBe(3);
  expect(compose('exec', '-T', 'web', 'nc', '-w', '2', 'cache', '6379').stdout).toBe('PONG\n');
  await eventually(() => daemon.ok('inspect', '-f', '{{.State.Health.Status}}', 'stack_web_1') === 'healthy');
  // The same file again changes nothing.
  const before = daemon.ok('ps', '-q', '-f', 'name=stack_web_1');
  expect(compose('up', '-d').code).toBe(0);
  expect(daemon.ok('ps', '-q', '-f', 'name=stack_web_1')).toBe(before);
  expect(compose('up', '-d', '--scale', 'cache=2').code).toBe(0);
  expect(daemon.ok('ps', '-q', '-f', 'label=com.docker.compose.service=cache').split('\n').length).toBe(2);
  expect(compose('restart', '-t', '0', 'cache').code).toBe(0);
  expect(compose('run', '--rm', 'cache', 'echo', 'one-off').stdout).toContain('one-off');
  expect(compose('logs', 'pages').code).toBe(0);
  const down = compose('down', '-v', '-t', '0');
  expect(down.code).toBe(0);
  expect(daemon.ok('ps', '-aq')).toBe('');
  expect(daemon.ok('volume', 'ls', '-q')).toBe('');
  expect(daemon.ok('network', 'ls', '--format', '{{.Name}}').split('\n').sort()).toEqual(['bridge', 'host', 'none']);
});

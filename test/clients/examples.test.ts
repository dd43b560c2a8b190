/** The examples run as their page says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

const root = join(import.meta.dirname, '../..');
const example = (name: string): string => join(root, 'examples', name);

let daemon: TestDaemon;
const children: ChildProcess[] = [];
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(async () => {
  for (const child of children) child.kill();
  await daemon?.stop();
});

const follow = (command: string, ...args: string[]): (() => string) => {
  const child = spawn(command, args, { env: { ...process.env, DOCKER_HOST: `unix://${daemon.socket}` } });
  children.push(child);
  let text = '';
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  child.stderr.on('data', (chunk) => (text += String(chunk)));
  return () => text;
};

test('curl.sh lives a container’s life', () => {
  const done = daemon.inside('sh', example('curl.sh'), daemon.image);
  expect(done.stderr).toBe('');
  expect(done.code).toBe(0);
  expect(done.stdout).toContain('hello from ');
  expect(done.stdout).toMatch(/\d+ create\n\d+ start\n\d+ die\n/);
  expect(daemon.ok('ps', '-aq')).toBe('');
});

test('both event readers follow along, and the TypeScript one loses nothing over a restart of the daemon', async () => {
  const typescript = follow(join(root, 'bin/node'), example('events.ts'));
  const python = follow('python3', example('events.py'));
  await eventually(() => {
    daemon.ok('run', '--rm', daemon.image, 'true');
    return typescript().includes('running: 0') && python().includes('container destroy');
  });
  await daemon.terminate();
  await daemon.restart();
  daemon.ok('run', '--rm', '--name', 'after', daemon.image, 'true');
  await eventually(() => typescript().includes('destroy  after'));
  expect(typescript()).toContain('connecting again');
});

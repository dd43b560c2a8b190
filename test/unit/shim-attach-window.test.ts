import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AttachWindow, ownProcs } from '../../src/runtime/shim/attach-window.ts';
import { eventually } from '../support/eventually.ts';
import { ManualClock } from '../support/manual-clock.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'attach-window-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test('finds its own cgroup in either kind of hierarchy', () => {
  expect(ownProcs('9:name=systemd:/a\n0::/\n', '/c')).toBe('/c/systemd/a/cgroup.procs');
  expect(ownProcs('4:cpu,cpuacct:/a/b\n', '/c')).toBe('/c/cpu,cpuacct/a/b/cgroup.procs');
  expect(ownProcs('0::/system.slice/x\n', '/c')).toBe('/c/system.slice/x/cgroup.procs');
});

test('writes itself to the cgroup it is in at that moment, again and again until the time is up', async () => {
  const clock = new ManualClock();
  const membership = join(root, 'membership');
  const at = (cgroup: string): string => join(root, cgroup, 'cgroup.procs');
  for (const name of ['a', 'b']) mkdirSync(join(root, name));
  for (const name of ['a', 'b']) writeFileSync(at(name), '');
  writeFileSync(membership, '0::/a\n');
  const window = new AttachWindow({ clock, membership, root });
  const closed = window.open();
  await eventually(() => clock.pending > 0);
  expect([readFileSync(at('a'), 'utf8'), readFileSync(at('b'), 'utf8')]).toEqual(['0', '']);
  // Somebody moves the daemon.
  writeFileSync(membership, '0::/b\n');
  clock.advance(3);
  await eventually(() => clock.pending > 0);
  expect(readFileSync(at('b'), 'utf8')).toBe('0');
  // Not for ever.
  let open = true;
  void closed.then(() => (open = false));
  await eventually(() => {
    clock.advance(3);
    return !open;
  });
  writeFileSync(at('b'), '');
  void window.open();
  await eventually(() => clock.pending > 0);
  expect(readFileSync(at('b'), 'utf8')).toBe('0');
});

test('leaves it for good where it may not write, and makes no file', async () => {
  const membership = join(root, 'membership');
  mkdirSync(join(root, 'a'));
  writeFileSync(membership, '0::/a\n');
  const window = new AttachWindow({ clock: new ManualClock(), membership, root });
  await window.open();
  writeFileSync(join(root, 'a/cgroup.procs'), '');
  await window.open();
  expect(readFileSync(join(root, 'a/cgroup.procs'), 'utf8')).toBe('');
});

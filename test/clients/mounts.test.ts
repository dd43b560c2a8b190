/** Mounts in real containers: what passes through them in either direction, what is read-only how deep, what a volume begins with. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const mounted: string[] = [];

beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
});
afterAll(async () => {
  for (const path of mounted.reverse()) spawnSync('umount', ['-l', path]);
  await stopClean(daemon);
});

const mount = (...args: string[]): void => {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
};
/** A directory of the host that is a mount, and how mounts below it spread. */
function directory(name: string, propagation: 'private' | 'shared'): string {
  const path = join(daemon.directory, name);
  mkdirSync(join(path, 'sub'), { recursive: true });
  mount('--bind', path, path);
  mounted.push(path);
  mount(`--make-${propagation}`, path);
  return path;
}
function tmpfs(path: string): void {
  mount('-t', 'tmpfs', 'tmpfs', path);
  mounted.push(path);
}

/** By the API, because the CLI of Debian does not know all of them. Resolves with what was said, failures included. */
async function runWith(mounts: object[], script: string): Promise<string> {
  const { status, json } = await daemon.api<{ Id: string; message: string }>('POST', '/v1.48/containers/create', {
    Image: 'busybox',
    Cmd: ['sh', '-c', `(${script}) 2>&1`],
    HostConfig: { Mounts: mounts },
  });
  if (status !== 201) return json.message;
  const { stdout, stderr } = daemon.docker('start', '-a', json.Id);
  daemon.ok('rm', '-v', json.Id);
  return (stdout + stderr).trim();
}

describe('propagation', () => {
  test('mounts of the host reach shared and slave binds, those of a container come back from shared ones only', () => {
    const path = directory('spread', 'shared');
    daemon.ok(
      ...['run', '-d', '--privileged', '--name', 'seer', '-v', `${path}:/shared:rshared`, '-v', `${path}:/private`],
      ...['--mount', `type=bind,src=${path},dst=/slave,bind-propagation=rslave`, 'busybox', 'sleep', '1000'],
    );
    tmpfs(join(path, 'sub'));
    writeFileSync(join(path, 'sub/late'), '');
    const list = (place: string): string => daemon.ok('exec', 'seer', 'ls', `/${place}/sub`);
    expect([list('shared'), list('slave'), list('private')]).toEqual(['late', 'late', '']);
    for (const place of ['shared', 'slave']) {
      mkdirSync(join(path, `by-${place}`));
      daemon.ok('exec', 'seer', 'mount', '-t', 'tmpfs', 'tmpfs', `/${place}/by-${place}`);
      daemon.ok('exec', 'seer', 'touch', `/${place}/by-${place}/here`);
    }
    expect(['shared', 'slave'].map((place) => readdirSync(join(path, `by-${place}`)))).toEqual([['here'], []]);
    mounted.push(join(path, 'by-shared'));
    daemon.ok('rm', '-f', 'seer');
    expect(existsSync(join(path, 'sub/late'))).toBe(true);
  });

  test('a source that is not shared cannot be bound as if it were', () => {
    const path = directory('lonely', 'private');
    for (const mode of ['rshared', 'rslave']) {
      const { code, stderr } = daemon.docker('run', '--rm', '-v', `${path}:/x:${mode}`, 'busybox', 'true');
      expect([code, stderr]).toEqual([expect.toBeOneOf([125, 127]), expect.stringContaining('not a shared')]);
    }
  });
});

test('read-only goes as deep as asked: all mounts below, the first alone, or none of them taken along', async () => {
  const path = directory('deep', 'private');
  tmpfs(join(path, 'sub'));
  writeFileSync(join(path, 'sub/file'), '');
  const bind = { Type: 'bind', Source: path, Target: '/m', ReadOnly: true };
  const tries = 'touch /m/x; touch /m/sub/x && echo wrote; ls /m/sub';
  const seen = (options: object): Promise<string> => runWith([{ ...bind, BindOptions: options }], tries);
  expect(await seen({})).toBe('touch: /m/x: Read-only file system\ntouch: /m/sub/x: Read-only file system\nfile');
  expect(await seen({ ReadOnlyForceRecursive: true, Propagation: 'rprivate' })).not.toContain('wrote');
  expect(await seen({ ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true })).toContain(
    'mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive',
  );
  expect(await seen({ ReadOnlyNonRecursive: true })).toBe('touch: /m/x: Read-only file system\nwrote\nfile\nx');
  expect(await seen({ NonRecursive: true })).not.toContain('file\n');
});

describe('a volume', () => {
  const content = (name: string): string[] =>
    readdirSync(daemon.ok('volume', 'inspect', '-f', '{{.Mountpoint}}', name)).sort();

  test('begins with what the image has there, unless told not to', () => {
    daemon.ok('run', '--rm', '-v', 'filled:/etc', 'busybox', 'true');
    expect(content('filled')).toContain('passwd');
    daemon.ok('run', '--rm', '-v', 'bare:/etc:nocopy', 'busybox', 'true');
    expect(content('bare')).not.toContain('passwd');
    daemon.ok('volume', 'rm', 'filled', 'bare');
  });

  test('shows a part of itself, which must be there', async () => {
    daemon.ok('run', '--rm', '-v', 'parts:/v', 'busybox', 'sh', '-c', 'mkdir -p /v/a/b; echo deep > /v/a/b/file');
    const part = (subpath: string) => ({
      Type: 'volume',
      Source: 'parts',
      Target: '/p',
      VolumeOptions: { Subpath: subpath },
    });
    expect(await runWith([part('a/b')], 'cat /p/file')).toBe('deep');
    expect(await runWith([part('a/c')], 'ls /p')).toContain('no such file or directory');
    daemon.ok('volume', 'rm', 'parts');
  });

  test('of a server that is not there fails the start with its reason, no password in it, and nothing is stuck', () => {
    const options = [
      '--opt',
      'type=cifs',
      '--opt',
      'device=//127.0.0.1/x',
      '--opt',
      'o=addr=127.0.0.1,username=a,password=hush',
    ];
    daemon.ok('volume', 'create', ...options, 'far');
    const { code, stderr } = daemon.docker('run', '--name', 'waits', '-v', 'far:/x', 'busybox', 'true');
    expect([code, stderr]).toEqual([125, expect.stringContaining('failed to mount local volume')]);
    expect(stderr).not.toContain('hush');
    expect(daemon.ok('ps', '-a', '--format', '{{.Names}} {{.Status}}')).toBe('waits Created');
    daemon.ok('rm', 'waits');
    daemon.ok('volume', 'rm', 'far');
  });
});

test('a tmpfs has the size, the mode and the flags asked for, and is gone with its container', async () => {
  const options = { SizeBytes: 1 << 20, Mode: 0o1770, Options: [['noexec']] };
  const said = await runWith(
    [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: options }],
    'grep " /t " /proc/mounts; stat -c %a /t; dd if=/dev/zero of=/t/x bs=64k count=32 2>&1 | grep -c "No space"',
  );
  expect(said).toMatch(/tmpfs \/t tmpfs rw,.*noexec.*size=1024k.*\n1770\n1$/);
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(' /t ');
});

/** Images, networks, volumes and the daemon itself through the real CLI. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const ok = (...args: string[]): string => daemon.ok(...args);
beforeAll(async () => {
  daemon = await startDaemon({ flags: ['-H', 'tcp://127.0.0.1:2399'] });
  ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

describe('images', () => {
  test('are listed, tagged, inspected and removed', () => {
    const id = ok('images', '-q', '--no-trunc', 'busybox');
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    ok('tag', 'busybox', 'team/app:1');
    expect(ok('images', '--format', '{{.Repository}}:{{.Tag}}')).toContain('team/app:1');
    expect(ok('image', 'inspect', '-f', '{{.Id}} {{.Os}}', 'team/app:1')).toBe(`${id} linux`);
    expect(ok('rmi', 'team/app:1')).toBe('Untagged: team/app:1');
    expect(daemon.docker('rmi', 'team/app:1').stderr).toContain('No such image: team/app:1');
    expect(ok('history', '-q', 'busybox').split('\n').length).toBeGreaterThan(0);
    ok('create', '--name', 'user', 'busybox', 'true');
    expect(daemon.docker('rmi', id).stderr).toContain('conflict');
    ok('rm', 'user');
  });

  test('travel through an archive', () => {
    const file = join(daemon.directory, 'saved.tar');
    ok('tag', 'busybox', 'travel:1');
    const id = ok('images', '-q', '--no-trunc', 'travel:1');
    ok('save', '-o', file, 'travel:1');
    ok('rmi', 'travel:1');
    expect(ok('load', '-i', file)).toContain('Loaded image: travel:1');
    expect(ok('images', '-q', '--no-trunc', 'travel:1')).toBe(id);
    ok('rmi', 'travel:1');
  });

  test('travel through a registry: push, remove, pull', () => {
    const name = `${daemon.registry!.host}/pushed:1`;
    ok('tag', 'busybox', name);
    expect(ok('push', name)).toMatch(/1: digest: sha256:[0-9a-f]{64} size: \d+/);
    ok('rmi', name);
    const pulled = ok('pull', name);
    expect(pulled).toContain(`Status: Downloaded newer image for ${name}`);
    expect(ok('pull', name)).toContain(`Status: Image is up to date for ${name}`);
    expect(daemon.docker('pull', `${daemon.registry!.host}/absent:1`).stderr).toMatch(/not found|manifest unknown/);
    ok('rmi', name);
  });
});

describe('networks', () => {
  test('are created, inspected, joined, left and removed', () => {
    ok('network', 'create', '--subnet', '10.77.0.0/24', '--label', 'kind=test', 'mine');
    expect(ok('network', 'ls', '-f', 'label=kind=test', '--format', '{{.Name}} {{.Driver}}')).toBe('mine bridge');
    expect(ok('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', 'mine')).toBe('10.77.0.0/24');
    ok('run', '-d', '--name', 'guest', 'busybox', 'sleep', '60');
    ok('network', 'connect', '--ip', '10.77.0.50', '--alias', 'visitor', 'mine', 'guest');
    expect(ok('exec', 'guest', 'ip', '-o', '-4', 'addr')).toContain('10.77.0.50/24');
    expect(ok('network', 'inspect', '-f', '{{range .Containers}}{{.Name}}{{end}}', 'mine')).toBe('guest');
    expect(daemon.docker('network', 'rm', 'mine').stderr).toContain('has active endpoints');
    ok('network', 'disconnect', 'mine', 'guest');
    ok('rm', '-f', 'guest');
    ok('network', 'rm', 'mine');
    expect(daemon.docker('network', 'inspect', 'mine').stderr).toMatch(/network mine not found|no such network: mine/i);
    expect(ok('network', 'ls', '--format', '{{.Name}}').split('\n').sort()).toEqual(['bridge', 'host', 'none']);
    expect(daemon.docker('network', 'rm', 'bridge').code).toBe(1);
  });
});

describe('volumes', () => {
  test('are created, listed, refused while in use, and pruned', async () => {
    ok('volume', 'create', '--label', 'kind=test', 'data');
    expect(ok('volume', 'ls', '-q', '-f', 'label=kind=test')).toBe('data');
    expect(ok('volume', 'inspect', '-f', '{{.Driver}}', 'data')).toBe('local');
    ok('create', '--name', 'user', '-v', 'data:/data', '-v', '/anonymous', 'busybox', 'true');
    expect(daemon.docker('volume', 'rm', 'data').stderr).toContain('volume is in use');
    ok('rm', '-v', 'user');
    expect(ok('volume', 'ls', '-q')).toBe('data');
    // A named volume goes only when all are meant (since 1.42).
    const prune = async (query = ''): Promise<string[]> =>
      (await daemon.api<{ VolumesDeleted: string[] }>('POST', `/volumes/prune${query}`)).json.VolumesDeleted;
    expect(await prune()).toEqual([]);
    expect(await prune(`?filters=${encodeURIComponent('{"all":["true"]}')}`)).toEqual(['data']);
    expect(ok('volume', 'ls', '-q')).toBe('');
  });
});

describe('the daemon', () => {
  test('tells its version, its state and its use of the disk', () => {
    expect(ok('version', '-f', '{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}')).toBe(
      '1.51 1.24 linux',
    );
    expect(ok('version')).toContain('reactord');
    expect(ok('info', '-f', '{{.Driver}} {{.Swarm.LocalNodeState}} {{.ServerErrors}}')).toBe('overlay2 inactive []');
    expect(ok('system', 'df', '--format', '{{.Type}}').split('\n')).toEqual([
      'Images',
      'Containers',
      'Local Volumes',
      'Build Cache',
    ]);
    expect(ok('system', 'df', '-v')).toContain('busybox');
    expect(daemon.docker('service', 'ls').stderr).toContain('This node is not a swarm manager');
    expect(ok('plugin', 'ls', '-q')).toBe('');
  });

  test('serves clients of old API versions, and refuses those before 1.24', () => {
    const old = (...args: string[]) => daemon.dockerWith({ env: { DOCKER_API_VERSION: '1.25' } }, ...args);
    expect(old('run', '--rm', 'busybox', 'echo', 'hi')).toEqual({ code: 0, stdout: 'hi\n', stderr: '' });
    expect(old('run', '-d', '--name', 'aged', 'busybox', 'sleep', '60').code).toBe(0);
    expect(old('ps', '--format', '{{.Names}}').stdout.trim()).toBe('aged');
    expect(old('exec', 'aged', 'echo', 'in').stdout).toBe('in\n');
    expect(old('rm', '-f', 'aged').code).toBe(0);
    const ancient = daemon.inside('curl', '-s', '--unix-socket', daemon.socket, 'http://d/v1.12/version');
    expect(ancient.stdout).toContain('client version 1.12 is too old');
  });

  test('answers on a second socket, TCP on loopback, all the same', () => {
    const tcp = (...args: string[]) => daemon.inside('docker', '-H', 'tcp://127.0.0.1:2399', ...args);
    expect(tcp('run', '--rm', 'busybox', 'echo', 'over tcp')).toEqual({ code: 0, stdout: 'over tcp\n', stderr: '' });
    expect(tcp('info', '-f', '{{range .Warnings}}{{.}}{{end}}').stdout).toContain('without encryption');
  });

  test('prunes what is not used', () => {
    ok('create', '--name', 'idle', 'busybox', 'true');
    ok('network', 'create', 'unused');
    const pruned = ok('system', 'prune', '-f');
    expect(pruned).toContain('Deleted Containers');
    expect(pruned).toContain('unused');
    expect(ok('ps', '-aq')).toBe('');
    expect(ok('images', '-q')).not.toBe('');
  });
});

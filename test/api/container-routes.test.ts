import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Hono } from 'hono';
import type { ApiEnv } from '../../src/api/kit.ts';
import { createApp } from '../../src/api/app.ts';
import { testSystem } from './api-support.ts';
import { containerWorld } from '../support/container-world.ts';
import { eventually } from '../support/eventually.ts';

vi.setConfig({ testTimeout: 30_000 });

let world: Awaited<ReturnType<typeof containerWorld>>;
let app: Hono<ApiEnv>;
beforeEach(async () => {
  world = await containerWorld();
  app = createApp({ ...world.deps, rooms: [world.room], system: testSystem });
});
afterEach(() => world.dispose());

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; json: any }> {
  const answer = await app.request(`/v1.51${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await answer.text();
  return { status: answer.status, json: text ? JSON.parse(text) : undefined };
}

const create = async (body: object = {}, name = 'box'): Promise<string> => {
  const { status, json } = await ask('POST', `/containers/create?name=${name}`, { Image: 'busybox', ...body });
  expect(status).toBe(201);
  return json.Id as string;
};

test('statuses of a life: 201, 204, 304, 409, 404', async () => {
  const id = await create();
  expect((await ask('POST', '/containers/create?name=box', { Image: 'busybox' })).status).toBe(409);
  expect((await ask('POST', '/containers/create', { Image: 'absent' })).status).toBe(404);
  expect((await ask('POST', '/containers/box/stop')).status).toBe(304);
  expect((await ask('POST', '/containers/box/kill')).status).toBe(409);
  expect((await ask('POST', '/containers/box/start')).status).toBe(204);
  expect((await ask('POST', '/containers/box/start')).status).toBe(304);
  expect((await ask('DELETE', '/containers/box')).status).toBe(409);
  expect((await ask('POST', '/containers/box/unpause')).status).toBe(500);
  expect((await ask('POST', '/containers/box/pause')).status).toBe(204);
  expect((await ask('POST', '/containers/box/pause')).status).toBe(409);
  expect((await ask('POST', '/containers/box/kill?signal=odd')).status).toBe(400);
  expect((await ask('DELETE', '/containers/box?force=1')).status).toBe(204);
  expect((await ask('GET', `/containers/${id}/json`)).json).toEqual({ message: `No such container: ${id}` });
});

test('what cannot be is refused at once, in dockerd’s words', async () => {
  const refused = async (body: object): Promise<string> => {
    const { status, json } = await ask('POST', '/containers/create', { Image: 'busybox', ...body });
    expect(status).toBe(400);
    return json.message as string;
  };
  expect(await refused({ HostConfig: { AutoRemove: true, RestartPolicy: { Name: 'always' } } })).toBe(
    "can't create 'AutoRemove' container with restart policy",
  );
  expect(await refused({ HostConfig: { NetworkMode: 'container:x' }, Hostname: 'h' })).toContain('conflicting options');
  expect(await refused({ HostConfig: { StorageOpt: { size: '1g' } } })).toContain('--storage-opt');
  expect(await refused({ Tty: 'yes' })).toContain('Tty must be boolean');
  expect((await ask('POST', '/containers/create?name=-x', { Image: 'busybox' })).json.message).toContain(
    'Invalid container name (-x)',
  );
  expect((await ask('GET', '/containers/json?filters={"odd":["x"]}')).status).toBe(400);
});

test('wait sends its headers at once and the exit code later', async () => {
  const id = await create();
  const answer = await app.request(`/v1.51/containers/${id}/wait?condition=next-exit`, { method: 'POST' });
  expect(answer.status).toBe(200);
  await ask('POST', `/containers/${id}/start`);
  world.runtime.exit(id, 7);
  expect(await answer.json()).toEqual({ StatusCode: 7 });
  expect((await ask('POST', `/containers/${id}/wait?condition=odd`)).status).toBe(400);
});

test('list and inspect show what clients read', async () => {
  const id = await create({ Labels: { app: 'x' }, HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } });
  expect((await ask('GET', '/containers/json')).json).toEqual([]);
  const [entry] = (await ask('GET', '/containers/json?all=1&size=1')).json;
  expect(entry).toMatchObject({
    Id: id,
    Names: ['/box'],
    Image: 'busybox',
    State: 'created',
    Status: 'Created',
    Ports: [],
    Labels: { app: 'x', from: 'image' },
    SizeRw: 10,
    SizeRootFs: 100,
    HostConfig: { NetworkMode: 'bridge' },
  });
  const { json } = await ask('GET', '/containers/box/json');
  expect(json).toMatchObject({
    Id: id,
    Name: '/box',
    ExecIDs: null,
    Config: { Image: 'busybox', Hostname: id.slice(0, 12), Cmd: ['sh'], Env: ['PATH=/bin', 'COLOR=red'] },
    HostConfig: { RestartPolicy: { Name: 'no', MaximumRetryCount: 0 }, IpcMode: 'private', ShmSize: 64 << 20 },
    NetworkSettings: { Ports: {}, Networks: { bridge: { IPAddress: '', NetworkID: '' } } },
  });
  expect(json.SizeRw).toBeUndefined();
});

test('exec: refused without a command and in a container that does not run', async () => {
  const id = await create();
  expect((await ask('POST', `/containers/${id}/exec`, { Cmd: [] })).json).toEqual({
    message: 'No exec command specified',
  });
  expect((await ask('POST', `/containers/${id}/exec`, { Cmd: ['true'] })).status).toBe(409);
  await ask('POST', `/containers/${id}/start`);
  const exec = await ask('POST', `/containers/${id}/exec`, { Cmd: ['sleep', '1'], AttachStdout: true });
  expect(exec.status).toBe(201);
  expect((await ask('GET', `/exec/${exec.json.Id}/json`)).json).toMatchObject({
    ID: exec.json.Id,
    Running: false,
    ExitCode: null,
    ContainerID: id,
    ProcessConfig: { entrypoint: 'sleep', arguments: ['1'] },
  });
  expect((await ask('GET', `/containers/${id}/json`)).json.ExecIDs).toEqual([exec.json.Id]);
  world.runtime.exit(id, 0);
  await eventually(() => world.state(id) === 'exited.settled');
  expect((await ask('GET', `/exec/${exec.json.Id}/json`)).status).toBe(404);
});

test('prune takes what does not run, update changes limits, checkpoints are refused honestly', async () => {
  const id = await create();
  const up = await create({}, 'up');
  await ask('POST', `/containers/${up}/start`);
  expect((await ask('POST', `/containers/${up}/update`, { CpuShares: 512 })).json).toEqual({ Warnings: [] });
  expect((await ask('POST', `/containers/${up}/checkpoints`, {})).status).toBe(501);
  expect((await ask('POST', '/containers/prune')).json).toEqual({ ContainersDeleted: [id], SpaceReclaimed: 10 });
  expect((await ask('POST', `/containers/${up}/rename?name=box`)).status).toBe(204);
  expect((await ask('GET', '/containers/box/json')).json.HostConfig.CpuShares).toBe(512);
});

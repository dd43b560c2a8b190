/** Real containers for tests of the containers' room: the shim runtime, overlay roots, volumes and logs on this machine; no networks. */
import { existsSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createContainerRoom } from '../../src/container/room.ts';
import type { ContainerRecord } from '../../src/container/record.ts';
import type { ContainerCreate } from '../../src/generated/types/container-create.ts';
import { readHostFacts } from '../../src/host/facts.ts';
import { createImageRoom } from '../../src/image/room.ts';
import { createLogDrivers } from '../../src/logs/drivers.ts';
import { createShimRuntime } from '../../src/runtime/shim/runtime.ts';
import { createVolumeRoom } from '../../src/volume/room.ts';
import { Calls, fakeNetworks } from './container-world.ts';
import { testDeps } from './deps.ts';
import { busyboxLayer } from './fixture-image.ts';

/** A client's connection that keeps what it is sent. */
export class Client extends Duplex {
  received = '';
  override _read(): void {}
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.received += chunk.toString('latin1');
    done();
  }
  type(text: string): void {
    this.push(text);
  }
  /** End of input. */
  hangUp(): void {
    this.push(null);
  }
}

export async function containerHost() {
  const directory = mkdtempSync(join(tmpdir(), 'container-host-'));
  const cgroupParent = `/${basename(directory)}`;
  const base = testDeps({
    config: { dataRoot: join(directory, 'data'), execRoot: join(directory, 'exec'), cgroupParent },
  });
  const deps = { ...base, host: await readHostFacts(base.config) };
  const users: { room?: Awaited<ReturnType<typeof createContainerRoom>> } = {};
  const images = await createImageRoom({ ...deps, users: { using: (id) => users.room?.imageUsers.using(id) ?? [] } });
  const volumes = await createVolumeRoom({
    ...deps,
    users: { using: (name) => users.room?.volumeUsers.using(name) ?? [] },
  });
  await images.boot();
  await volumes.boot();
  const calls = new Calls();
  const networks = fakeNetworks(calls, deps);
  const open = async () => {
    const { config, log, clock } = deps;
    const runtime = await createShimRuntime({ config, log, clock, directory: join(config.execRoot, 'runtime') });
    const logs = createLogDrivers({ config, log, clock });
    const room = await createContainerRoom({
      ...deps,
      runtime,
      images: images.images,
      rootfs: images.rootfs,
      networks,
      volumes: volumes.volumes,
      logs,
    });
    users.room = room;
    await room.boot();
    return { runtime, room, logs };
  };
  let parts = await open();
  const image = await images.images.create({
    layers: [
      (async function* () {
        yield await busyboxLayer();
      })(),
    ],
    config: { architecture: deps.host.architecture, os: 'linux', config: { Cmd: ['sh'], Env: ['PATH=/bin'] } },
    tag: 'busybox:latest',
  });
  const host = {
    deps,
    directory,
    image,
    volumes: volumes.volumes,
    rootfs: images.rootfs,
    get room() {
      return parts.room;
    },
    get containers() {
      return parts.room.containers;
    },
    create: async (body: ContainerCreate, name?: string): Promise<ContainerRecord> => {
      const { Id } = await parts.room.containers.create(
        { Image: 'busybox', ...body, HostConfig: { NetworkMode: 'host', ...body.HostConfig } },
        { name },
      );
      return parts.room.containers.resolve(Id);
    },
    record: (id: string): ContainerRecord | undefined => parts.room.containers.find(id),
    state: (id: string): string => deps.reactor.entry('container', id)?.state ?? 'gone',
    events: (): string[] =>
      deps.facts.filter(({ topic }) => topic === 'event').map((fact) => `${fact.type} ${fact.action}`),
    inspect: async (id: string) => JSON.parse(await parts.room.containers.inspect(id, false)) as Record<string, any>,
    /** All lines that a container logged. */
    async logged(id: string): Promise<string> {
      const record = parts.room.containers.resolve(id);
      let text = '';
      const options = { stdout: true, stderr: true, tail: -1, follow: false };
      for await (const lines of parts.logs.batches(
        record.hostConfig.LogConfig,
        parts.room.lookup.logInfo(record),
        options,
        (batch) => batch.map(({ line }) => Buffer.from(line).toString()),
      ))
        text += lines.join('');
      return text;
    },
    /** The daemon's side of containers dies at once and comes again; shims and containers go on. */
    async reboot(meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
      deps.reactor.stop();
      await parts.runtime.close();
      await meanwhile();
      parts = await open();
    },
    async dispose(): Promise<void> {
      for (const { id } of [...parts.room.containers.all()])
        await parts.room.containers.remove(id, { force: true, volumes: true }).catch(() => {});
      await parts.room.stop();
      await parts.runtime.close();
      await images.stop();
      await volumes.stop();
      deps.reactor.stop();
      rmSync(directory, { recursive: true, force: true });
      removeCgroups(cgroupParent);
    },
  };
  return host;
}

/** The parent of our containers' groups, in every hierarchy; by then it is empty. */
function removeCgroups(parent: string): void {
  const root = '/sys/fs/cgroup';
  for (const path of [root, ...readdirSync(root).map((name) => join(root, name))].map((path) => join(path, parent))) {
    if (existsSync(path)) rmdirSync(path);
  }
}

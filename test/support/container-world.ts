/** A containers' room over the fake runtime and ports in memory, for tests of everything the chart decides. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ContainerRoom, createContainerRoom } from '../../src/container/room.ts';
import type { ContainerRecord } from '../../src/container/record.ts';
import type { ContainerCreate } from '../../src/generated/types/container-create.ts';
import { notFound } from '../../src/errors.ts';
import type { Image, ImageStore, RootfsStore } from '../../src/image/port.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { LogDrivers } from '../../src/logs/port.ts';
import type { Networks, Sandbox } from '../../src/network/port.ts';
import { createFakeRuntime, type FakeOptions } from '../../src/runtime/fake/runtime.ts';
import type { Volumes } from '../../src/volume/port.ts';
import type { TestDeps } from './deps.ts';
import { testDeps } from './deps.ts';

const IMAGE_ID = `sha256:${'a'.repeat(64)}`;

const image: Image = {
  id: IMAGE_ID,
  config: {
    architecture: 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin', 'COLOR=red'], Cmd: ['sh'], Labels: { from: 'image' } },
    rootfs: { type: 'layers', diff_ids: [`sha256:${'b'.repeat(64)}`] },
  },
  repoTags: ['busybox:latest'],
  repoDigests: [],
  size: 1,
};

/** Calls of all ports in order, as `networks.open`, and a way to make the next one fail. */
export class Calls {
  readonly seen: string[] = [];
  #failures = new Map<string, unknown>();

  failNext(name: string, error: unknown): void {
    this.#failures.set(name, error);
  }

  async call(name: string): Promise<void> {
    this.seen.push(name);
    const error = this.#failures.get(name);
    this.#failures.delete(name);
    if (error) throw error;
  }
}

const images = (): ImageStore => {
  const find = (reference: string): Image | undefined =>
    reference === 'busybox' || reference === 'busybox:latest' || reference === IMAGE_ID ? image : undefined;
  return {
    find,
    get(reference) {
      const found = find(reference);
      if (!found) throw notFound(`No such image: ${reference}`);
      return found;
    },
    pull: async () => image,
    create: async () => image,
    tag: async () => {},
    discard: async () => {},
  };
};

const rootfs = (calls: Calls, emptyRoot: string): RootfsStore => {
  const known = new Set<string>();
  return {
    async prepare(id) {
      await calls.call('rootfs.prepare');
      known.add(id);
    },
    mounts: () => [],
    mountReadOnly: () => calls.call('rootfs.mountReadOnly'),
    withMounted: (_, work) => work(emptyRoot, false),
    async *diff() {},
    changes: async () => [],
    usage: async () => ({ sizeRw: 10, sizeRootFs: 100 }),
    describe: () => ({ Name: 'overlay2', Data: { UpperDir: '/nonexistent/upper', LowerDir: '' } }),
    async remove(id) {
      await calls.call('rootfs.remove');
      known.delete(id);
    },
    list: async () => [...known],
  };
};

/** Events as the real ones have them; no namespaces: containers share the host's. */
export function fakeNetworks(calls: Calls, deps: TestDeps): Networks {
  const open = new Set<string>();
  const sandbox = (): Sandbox => ({
    netnsPath: '',
    endpoints: {},
    ports: {},
    sandboxId: 'f'.repeat(64),
    hostsPath: '',
    resolvConfPath: '',
  });
  const publish = (action: string, container: string): void =>
    void deps.bus.publish({ topic: 'event', type: 'network', action, id: 'bridge', attributes: { container } });
  return {
    validate: () => {},
    async prepare() {
      await calls.call('networks.prepare');
      return { netnsPath: '', hostsPath: '', resolvConfPath: '' };
    },
    async open({ containerId }) {
      await calls.call('networks.open');
      open.add(containerId);
      publish('connect', containerId);
      return sandbox();
    },
    restore: async (_, known) => known,
    async close(containerId) {
      await calls.call('networks.close');
      if (open.delete(containerId)) publish('disconnect', containerId);
    },
    connect: async () => sandbox(),
    disconnect: async () => sandbox(),
    resolve: (network) => ({ id: network, name: network, driver: 'bridge' }),
    rename: () => {},
    relink: async () => {},
    hostGateways: () => [],
  };
}

function volumes(calls: Calls): Volumes {
  const known = new Map<string, ReturnType<Volumes['get']>>();
  const info = (name: string): ReturnType<Volumes['get']> => ({
    Name: name,
    Driver: 'local',
    Mountpoint: `/volumes/${name}`,
    CreatedAt: '',
    Labels: {},
    Scope: 'local',
    Options: null,
  });
  return {
    get: (name) => known.get(name)!,
    find: (name) => known.get(name),
    async ensure({ name }) {
      known.set(name, info(name));
      return info(name);
    },
    release: () => {},
    async mount(name) {
      await calls.call(`volumes.mount`);
      return `/volumes/${name}`;
    },
    unmount: () => calls.call('volumes.unmount'),
    async remove(name) {
      await calls.call('volumes.remove');
      known.delete(name);
    },
    restore: async () => {},
    copyUp: async () => {},
  };
}

const logs = (): LogDrivers => ({
  validate: () => {},
  open: async () => ({ write: () => undefined, close: async () => {} }),
  async *batches() {},
  path: () => '',
  remove: async () => {},
});

export async function containerWorld(options: { clock?: Clock; fake?: FakeOptions; deps?: TestDeps } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'container-world-'));
  const config = { dataRoot: join(directory, 'data'), execRoot: join(directory, 'exec') };
  const deps = options.deps ?? testDeps({ config, clock: options.clock });
  const runtime = createFakeRuntime(options.fake);
  const calls = new Calls();
  const ports = {
    runtime,
    images: images(),
    rootfs: rootfs(calls, directory),
    networks: fakeNetworks(calls, deps),
    volumes: volumes(calls),
    logs: logs(),
  };
  let room = await createContainerRoom({ ...deps, ...ports });
  await room.boot();
  const { containers } = room;
  return {
    deps,
    runtime,
    calls,
    room,
    containers,
    create: async (body: ContainerCreate = {}, name?: string): Promise<ContainerRecord> => {
      const { Id } = await room.containers.create({ Image: 'busybox', ...body }, { name });
      return room.containers.resolve(Id);
    },
    record: (id: string): ContainerRecord | undefined => room.containers.find(id),
    state: (id: string): string => deps.reactor.entry('container', id)?.state ?? 'gone',
    inspect: async (id: string) => JSON.parse(await room.containers.inspect(id, false)) as Record<string, any>,
    events: (): string[] =>
      deps.facts.filter(({ topic }) => topic === 'event').map((fact) => `${fact.type} ${fact.action}`),
    /** As after kill -9: the actors are gone, the records and the runtime's containers stay. */
    async reboot(early: (room: ContainerRoom) => Promise<unknown> = async () => {}): Promise<void> {
      deps.reactor.stop();
      room = await createContainerRoom({ ...deps, ...ports });
      Object.assign(this, { room, containers: room.containers });
      // The API answers before the room has recovered.
      await Promise.all([early(room), room.boot()]);
    },
    async dispose(): Promise<void> {
      deps.reactor.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

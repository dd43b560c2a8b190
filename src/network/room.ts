/** The networks' room: builds the parts, reconciles them with the kernel at boot, watches over them, and serves the port. */
import { join } from 'node:path';
import { nowNano, rfc3339Nano } from '../lib/clock.ts';
import type { Room, RoomDeps } from '../reactor/room.ts';
import { networksRoutes } from '../api/routes/networks.ts';
import { defaultNetworks } from './default-networks.ts';
import { Names } from './dns/names.ts';
import { InsideServers } from './dns/inside.ts';
import { DnsServer } from './dns/server.ts';
import { upstreamsOf, type ResolvConf } from './files.ts';
import { type Firewall, NftFirewall, noFirewall } from './firewall.ts';
import { tagOf } from './link-script.ts';
import { Links } from './links.ts';
import { linkExists, NetworkLinks } from './network-links.ts';
import type { Networks, NetworkUsers } from './port.ts';
import { type Reach, explainReach } from './reach.ts';
import { NETWORKS, type NetworkRecord, type SandboxRecord, SANDBOXES } from './record.ts';
import { NetworkRegistry } from './registry.ts';
import { Reservations } from './reservations.ts';
import { hostGateways, hostResolvConf } from './sandbox-files.ts';
import { Sandboxes } from './sandboxes.ts';
import { type NetworkService, networkService } from './service.ts';

/** How often the kernel is looked at while containers are attached. */
const WATCH_MS = 5_000;
/** Facts about the host that must outlive us. */
const FORWARDING = 'network-forwarding';
const FORWARDING_SYSCTLS = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' } as const;

export interface NetworkRoom extends Room {
  networks: Networks;
  service: NetworkService;
  /** Why a container can or cannot reach another one, by name or id. */
  explainReach(from: string, to: string): Promise<Reach>;
  /** Looks at once whether links and rules are as they should be, and repairs them. */
  inspectKernel(): Promise<void>;
  /** Resolves when nothing of closed containers is left in the kernel. */
  settled(): Promise<void>;
}

export async function createNetworkRoom(deps: RoomDeps & { users: NetworkUsers }): Promise<NetworkRoom> {
  const { config, log, clock, bus, store, reactor, host } = deps;
  const links = new Links(join(config.execRoot, 'netns'), { ipv6: host.ipv6, clock, owner: deps.remap?.namespace });
  const tag = tagOf(config.dataRoot);
  /** Families in which we made the host a router; kept, for at the next start it is one already. */
  const guards = store.collection<{ family: 4 | 6 }>(FORWARDING);
  const firewall: Firewall = config.firewall
    ? new NftFirewall(
        {
          portsBehindFirewall: config.portsBehindFirewall,
          guarded: new Set(guards.all().map(({ record }) => record.family)),
        },
        log,
      )
    : noFirewall;

  /** Who makes a host a router must not make it one for everybody: then only what is ours is forwarded. */
  async function forward(family: 4 | 6): Promise<void> {
    if ((await links.readSysctl(FORWARDING_SYSCTLS[family])) !== '0') return;
    guards.put(String(family), { family });
    await firewall.guard(family);
    await links.sysctl(FORWARDING_SYSCTLS[family], '1');
  }

  const names = new Names();
  const reservations = new Reservations({ ip: config.ip, ipv6: host.ipv6 });
  const records = store.collection<SandboxRecord>(SANDBOXES);
  let hostResolv: ResolvConf = { nameservers: [], search: [], options: [] };

  const sandboxOf = (id: string): SandboxRecord | undefined => sandboxes.get(id);
  const upstreams = (sandbox: SandboxRecord): string[] => upstreamsOf(hostResolv, sandbox.request);
  const inside = new InsideServers({
    bindInside: (path, address) => links.bindInside(path, address),
    newServer: (containerId) =>
      new DnsServer({ names, log, askerOf: () => sandboxes.askers.of(containerId, sandboxOf, upstreams) }),
  });

  const networkLinks = new NetworkLinks({
    config,
    log,
    links,
    tag,
    firewall,
    ipv6: host.ipv6,
    newDnsServer: (record) =>
      new DnsServer({
        names,
        log,
        askerOf: (address) => sandboxes.askers.find(record.id, address, sandboxOf, upstreams),
      }),
    endpointsOf: (id) =>
      sandboxes
        .on(id)
        .filter((sandbox) => sandbox.phase === 'open')
        .flatMap((sandbox) => sandbox.endpoints.filter((one) => one.networkId === id)),
    forward,
    isShared: (record) => registry.all().some((other) => other.id !== record.id && other.link === record.link),
    onMade: (before, made) => {
      registry.update(made);
      if (before.dnsPort && before.dnsPort !== made.dnsPort)
        void sandboxes
          .follow(made.id)
          .catch((error: unknown) =>
            log.warn({ err: error, network: made.name }, 'containers were not led to the DNS server'),
          );
    },
  });
  const registry = new NetworkRegistry({
    config,
    log,
    clock,
    bus,
    store,
    reactor,
    effects: networkLinks,
    routes: () => links.routes(),
  });
  const sandboxes = new Sandboxes({
    config,
    log,
    bus,
    registry,
    links,
    tag,
    inside,
    firewall,
    reservations,
    names,
    records,
    ipv6: host.ipv6,
  });
  const service = networkService({ registry, sandboxes, users: deps.users });
  let cancelWatch = (): void => {};
  let stopped = false;

  async function readHostServers(): Promise<void> {
    const found = await hostResolvConf();
    if (JSON.stringify(found) === JSON.stringify(hostResolv)) return;
    hostResolv = found;
    sandboxes.askers.forgetAll();
  }

  async function inspectKernel(): Promise<void> {
    await readHostServers();
    if (sandboxes.all().length === 0) return;
    if (await firewall.repair()) {
      log.warn('the nft table was changed by somebody; it is ours again');
      bus.publish({ topic: 'reactor', type: 'network', action: 'repaired', id: 'firewall' });
    }
    for (const record of registry.all())
      if (record.link && !record.configOnly && !(await linkExists(record.link))) {
        log.warn({ network: record.name, link: record.link }, 'the link of a network is gone; it is made again');
        bus.publish({ topic: 'reactor', type: 'network', action: 'repaired', id: record.id });
        registry.repair(record.id);
      }
    await sandboxes.repair(linkExists);
  }

  function watch(): void {
    cancelWatch = clock.after(WATCH_MS, () => {
      void inspectKernel()
        .catch((error: unknown) => log.warn({ err: error }, 'looking at the network failed'))
        .finally(() => {
          if (!stopped) watch();
        });
    });
  }

  /** Links and namespaces of ours that no record names. */
  async function sweep(): Promise<void> {
    const known = new Set(registry.all().map((record) => record.link));
    const all = sandboxes.all();
    for (const sandbox of all) for (const endpoint of sandbox.endpoints) known.add(endpoint.hostLink);
    const strays = (await links.list()).filter((link) => link.alias.startsWith(tag) && !known.has(link.name));
    await links.batchForced(strays.map((link) => `link del ${link.name}`));
    const paths = new Set(all.map((sandbox) => sandbox.netnsPath));
    for (const path of await links.namespaces()) if (!paths.has(path)) await links.removeNamespace(path);
  }

  /** Sandboxes whose namespace outlived us; after a reboot there is none. */
  async function survivors(): Promise<SandboxRecord[]> {
    const found = await Promise.all(
      records.all().map(async ({ id, record }) => {
        if (record.netnsPath === '' || (await links.isNamespace(record.netnsPath))) return record;
        records.delete(id);
        return undefined;
      }),
    );
    return found.filter((record) => record !== undefined);
  }

  async function boot(): Promise<void> {
    if (config.ipForward) await forward(4);
    await readHostServers();
    const known = store
      .collection<NetworkRecord>(NETWORKS)
      .all()
      .map(({ record }) => record);
    const [routed, present, alive] = await Promise.all([links.routes(), links.list(), survivors()]);
    const defaults = defaultNetworks({ config, known, created: rfc3339Nano(nowNano(clock)), routed, links: present });
    for (const record of known)
      if (record.predefined && !defaults.some((one) => one.id === record.id))
        store.collection(NETWORKS).delete(record.id);
    const all = [...defaults, ...known.filter((record) => !record.predefined)];
    for (const record of all) registry.add(record);
    for (const sandbox of alive) await sandboxes.load(sandbox);
    await sandboxes.loadLinks();
    if (!store.incomplete) await sweep();
    await Promise.all(
      all.map((record) =>
        registry.start(
          record,
          sandboxes.on(record.id).map((sandbox) => sandbox.containerId),
        ),
      ),
    );
    // Containers without published ports can do without; the next change tries again.
    await firewall.settle().catch((error: unknown) => log.error({ err: error }, 'the nft table could not be written'));
    watch();
  }

  const networks: Networks = {
    validate: (request) => sandboxes.validate(request),
    prepare: (request) => sandboxes.prepare(request),
    open: (request) => sandboxes.open(request),
    restore: (request) => sandboxes.restore(request, linkExists),
    close: (containerId) => sandboxes.close(containerId),
    connect: (request, network, endpoint) => sandboxes.connect(request, network, endpoint),
    disconnect: (containerId, network, force) => sandboxes.disconnect(containerId, network, force),
    resolve: (network) => {
      const { id, name, driver } = registry.resolve(network);
      return { id, name, driver };
    },
    rename: (containerId, name) => sandboxes.rename(containerId, name),
    relink: (request) => sandboxes.relink(request),
    hostGateways: () => hostGateways({ config, registry }),
  };

  return {
    networks,
    service,
    explainReach: (from, to) => explainReach({ registry, sandboxes, firewall, config }, from, to),
    inspectKernel,
    settled: () => sandboxes.settled(),
    boot,
    async stop() {
      stopped = true;
      cancelWatch();
      await Promise.all([networkLinks.close(), inside.closeAll(), reservations.close(), sandboxes.settled()]);
      await links.close();
    },
    routes: (api) =>
      networksRoutes(api, {
        ...service,
        explainReach: (from, to) => explainReach({ registry, sandboxes, firewall, config }, from, to),
      }),
  };
}

/** What a container's statechart needs of the networks. */

/** Docker's EndpointSettings as a client gives it (create, connect). */
export interface EndpointConfig {
  IPAMConfig?: { IPv4Address?: string; IPv6Address?: string; LinkLocalIPs?: string[] | null } | null;
  Links?: string[] | null;
  Aliases?: string[] | null;
  MacAddress?: string;
  GwPriority?: number;
  DriverOpts?: Record<string, string> | null;
}

/** Docker's EndpointSettings as inspect shows it. */
export interface EndpointSettings extends EndpointConfig {
  NetworkID: string;
  EndpointID: string;
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  MacAddress: string;
  DNSNames: string[] | null;
}

/** Docker's PortMap: "80/tcp" → bindings. */
export type PortMap = Record<string, { HostIp: string; HostPort: string }[] | null>;

export interface SandboxRequest {
  containerId: string;
  /** Without the slash. */
  name: string;
  hostname: string;
  domainname: string;
  /** none, host, default/bridge, a network's name or id, or container:<id> (the caller resolved it to a full id). */
  mode: string;
  /** Key: network name or id. The first of mode is always there for bridge-like modes. */
  endpoints: Record<string, EndpointConfig>;
  exposedPorts: string[];
  portBindings: PortMap;
  publishAll: boolean;
  dns: string[];
  dnsSearch: string[];
  dnsOptions: string[];
  extraHosts: string[];
  /** Legacy links on the default bridge: container id and alias. */
  links: { containerId: string; alias: string }[];
  sysctls: Record<string, string>;
  labels: Record<string, string>;
  /** Directory of the container, in which hosts and resolv.conf are written. */
  directory: string;
}

export interface Sandbox {
  /** Path of the network namespace (bind mounted); '' for host mode. */
  netnsPath: string;
  /** Docker's NetworkSettings parts. */
  endpoints: Record<string, EndpointSettings>;
  ports: PortMap;
  sandboxId: string;
  /** Paths of the files written into `directory`; '' where the mode has none. */
  hostsPath: string;
  resolvConfPath: string;
}

/**
 * Network events (connect, disconnect) are published by the networks, not by the caller. `open` is in two steps so that
 * the namespace exists before the runtime's Create while links and ports are made beside it.
 */
export interface Networks {
  /** Checks a request at create: unknown networks (notFound "network x not found"), addresses outside user-defined networks, bad ports. Changes nothing. */
  validate(request: SandboxRequest): void;
  /** Makes the empty namespace and the files. Idempotent per container. Resolves fast. */
  prepare(request: SandboxRequest): Promise<{ netnsPath: string; hostsPath: string; resolvConfPath: string }>;
  /** Endpoints, addresses, routes, DNS, published ports. Throws and undoes all when one fails (a clash: code `port-in-use`). */
  open(request: SandboxRequest): Promise<Sandbox>;
  /** After the daemon restarted: takes up what is there, repairs what is missing. */
  restore(request: SandboxRequest, known: Sandbox): Promise<Sandbox>;
  /** Frees everything of the container. Idempotent. */
  close(containerId: string): Promise<void>;
  /** While the container runs. */
  connect(request: SandboxRequest, network: string, endpoint: EndpointConfig): Promise<Sandbox>;
  disconnect(containerId: string, network: string, force: boolean): Promise<Sandbox>;
  /** The full name and id of a network by name, id or id prefix. */
  resolve(network: string): { id: string; name: string; driver: string };
  rename(containerId: string, name: string): void;
  /** The legacy links of a running container are others now. */
  relink(request: SandboxRequest): Promise<void>;
  /** Addresses that `host-gateway` stands for. */
  hostGateways(): string[];
}

/** Told to the networks by the containers: who could be on a network while it does not run. */
export interface NetworkUsers {
  /** Containers (not running ones too) whose settings name this network. */
  using(network: { id: string; name: string }): { containerId: string; name: string; running: boolean }[];
  /**
   * For POST /networks/{id}/connect and disconnect, by container name, id or prefix: the container keeps its endpoints in its record, and
   * its chart calls `Networks.connect` or `disconnect` when it runs.
   */
  connect(container: string, network: string, endpoint: EndpointConfig): Promise<void>;
  disconnect(container: string, network: string, force: boolean): Promise<void>;
}

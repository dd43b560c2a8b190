/** What is done to links and in namespaces, as data: made from records by link-script.ts, carried out by run.ts. Names are as ip-link(8) has them. */

export type LinkStep =
  | {
      /** A pair: one end on a bridge of the host, its peer in a container's namespace. Up, with its alias, when it is made. */
      kind: 'veth';
      name: string;
      mtu: number;
      master: string;
      alias: string;
      hairpin: boolean;
      isolated: boolean;
      peer: { name: string; mac: string; netnsPath: string };
    }
  | { kind: 'address'; link: string; address: string; bits: number }
  | { kind: 'up'; link: string }
  /** The default route of a family; without a gateway straight to the link. */
  | { kind: 'default-route'; link: string; family: 4 | 6; gateway: string }
  /** What is gone already is no failure. */
  | { kind: 'delete'; link: string };

/** Of one port, in the namespace at `path`: descriptors that are the whole process's. */
export interface BindTask {
  kind: 'bind';
  path: string;
  /** IPv4. */
  address: string;
}

export type LinkTask =
  | BindTask
  | {
      /** A new network namespace, bind mounted on a file that is there. */
      kind: 'namespace';
      path: string;
      ipv6: boolean;
    }
  | {
      kind: 'links';
      /** In the daemon's own namespace. */
      host: readonly LinkStep[];
      /** In the namespace at `path`, after that: sysctls (path below /proc/sys → value), then steps. */
      inside?: { path: string; sysctls: Readonly<Record<string, string>>; steps: readonly LinkStep[] };
    };

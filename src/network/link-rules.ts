/**
 * Legacy links while both of their containers run: where containers of the default bridge may not talk to each other, the
 * ports that one exposes are open to those that name it by a link.
 */
import type { Firewall } from './firewall.ts';
import type { Element } from './firewall-rules.ts';
import { iccOf } from './link-script.ts';
import { portMapOf } from './ports.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';

export interface LinkRulesDeps {
  registry: NetworkRegistry;
  firewall: Firewall;
  sandboxes: { get(containerId: string): SandboxRecord | undefined; all(): SandboxRecord[] };
}

/** Elements' ends, "tcp . 80", of what a container exposes. */
const exposedPorts = ({ request }: SandboxRecord): string[] =>
  Object.keys(portMapOf([], [...request.exposedPorts, ...Object.keys(request.portBindings)])).map((spec) =>
    spec.split('/').reverse().join(' . '),
  );

export class LinkRules {
  #deps: LinkRulesDeps;
  /** By parent. */
  #open = new Map<string, Element[]>();

  constructor(deps: LinkRulesDeps) {
    this.#deps = deps;
  }

  /** Those that name this container by a link. */
  parentsOf(containerId: string): SandboxRecord[] {
    return this.#deps.sandboxes
      .all()
      .filter(({ request }) => request.links.some((link) => link.containerId === containerId));
  }

  /** After a container came, went or has other links. */
  async follow(containerId: string): Promise<void> {
    const parents = new Set([containerId, ...this.parentsOf(containerId).map((parent) => parent.containerId)]);
    await Promise.all([...parents].map((parent) => this.#set(parent)));
  }

  async #set(parentId: string): Promise<void> {
    const before = this.#open.get(parentId) ?? [];
    const parent = this.#deps.sandboxes.get(parentId);
    const wanted = parent?.phase === 'open' ? this.#elements(parent) : [];
    const without = (elements: Element[], others: Element[]): Element[] =>
      elements.filter(({ key }) => !others.some((other) => other.key === key));
    if (wanted.length) this.#open.set(parentId, wanted);
    else this.#open.delete(parentId);
    await Promise.all([
      this.#deps.firewall.remove(without(before, wanted)),
      this.#deps.firewall.add(without(wanted, before)),
    ]);
  }

  #onBridge(sandbox: SandboxRecord | undefined): { network: NetworkRecord; endpoint: EndpointRecord } | undefined {
    for (const endpoint of sandbox?.phase === 'open' ? sandbox.endpoints : []) {
      const network = this.#deps.registry.get(endpoint.networkId);
      if (network?.name === 'bridge') return { network, endpoint };
    }
    return undefined;
  }

  #elements(parent: SandboxRecord): Element[] {
    const mine = this.#onBridge(parent);
    if (!mine || iccOf(mine.network)) return [];
    return parent.request.links.flatMap(({ containerId }) => {
      const other = this.#deps.sandboxes.get(containerId);
      const theirs = this.#onBridge(other);
      if (!other || !theirs?.endpoint.ipv4 || !mine.endpoint.ipv4) return [];
      const way = `"${mine.network.link}" . ${mine.endpoint.ipv4} . ${theirs.endpoint.ipv4}`;
      return exposedPorts(other).map((port): Element => ({ set: 'linked', key: `${way} . ${port}` }));
    });
  }
}

/** Who answers to which name in which network. Pure; names are compared without case. */
export interface NameOwner {
  containerId: string;
  networkId: string;
  ipv4: string;
  ipv6: string;
  /** The first is the container's own and answers reverse queries. */
  names: readonly string[];
}

const fold = (name: string): string => name.toLowerCase().replace(/\.$/, '');

export class Names {
  /** network id → name → container id → owner. */
  #byName = new Map<string, Map<string, Map<string, NameOwner>>>();
  #byAddress = new Map<string, Map<string, NameOwner>>();

  set(owner: NameOwner): void {
    this.delete(owner.networkId, owner.containerId);
    const names = mapIn(this.#byName, owner.networkId);
    for (const name of owner.names) mapIn(names, fold(name)).set(owner.containerId, owner);
    const addresses = mapIn(this.#byAddress, owner.networkId);
    for (const address of [owner.ipv4, owner.ipv6]) if (address) addresses.set(address, owner);
  }

  delete(networkId: string, containerId: string): void {
    const names = this.#byName.get(networkId);
    for (const [name, owners] of names ?? []) if (owners.delete(containerId) && owners.size === 0) names!.delete(name);
    const addresses = this.#byAddress.get(networkId);
    for (const [address, owner] of addresses ?? []) if (owner.containerId === containerId) addresses!.delete(address);
    if (names?.size === 0) this.#byName.delete(networkId);
    if (addresses?.size === 0) this.#byAddress.delete(networkId);
  }

  find(networkId: string, name: string): NameOwner[] {
    return [...(this.#byName.get(networkId)?.get(fold(name))?.values() ?? [])];
  }

  owned(networkId: string, address: string): NameOwner | undefined {
    return this.#byAddress.get(networkId)?.get(address);
  }
}

function mapIn<K, I, V>(map: Map<K, Map<I, V>>, key: K): Map<I, V> {
  let inner = map.get(key);
  if (!inner) map.set(key, (inner = new Map<I, V>()));
  return inner;
}

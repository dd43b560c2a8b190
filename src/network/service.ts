/** What the routes ask of the networks. */
import type { Filters } from '../api/filters.ts';
import { matchesLabels } from '../api/filters.ts';
import { invalid } from '../errors.ts';
import type { NetworkCreate } from './create.ts';
import type { EndpointConfig, NetworkUsers } from './port.ts';
import type { NetworkRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import type { Sandboxes } from './sandboxes.ts';
import { answersView, networkView, type NetworkView } from './view.ts';

export const LIST_FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'] as const;
export const PRUNE_FILTERS = ['label', 'label!', 'until'] as const;

export interface NetworkService {
  list(filters: Filters): NetworkView[];
  inspect(name: string, options: { verbose: boolean }): NetworkView;
  create(body: NetworkCreate): Promise<{ Id: string; Warning: string }>;
  remove(name: string): Promise<void>;
  connect(name: string, container: string, endpoint: EndpointConfig): Promise<void>;
  disconnect(name: string, container: string, force: boolean): Promise<void>;
  /** `untilMs`: only what was made before, in milliseconds since the epoch. */
  prune(filters: Filters, untilMs: number | undefined): Promise<string[]>;
}

export interface ServiceDeps {
  registry: NetworkRegistry;
  sandboxes: Sandboxes;
  users: NetworkUsers;
}

export function networkService({ registry, sandboxes, users }: ServiceDeps): NetworkService {
  const isUsed = (record: NetworkRecord): boolean =>
    sandboxes.on(record.id).length > 0 || users.using(record).length > 0;

  /** Several values of one key are alternatives, several keys conditions. */
  const matches = (record: NetworkRecord, filters: Filters): boolean => {
    const some = (key: string, test: (wanted: string) => boolean): boolean => filters.get(key)?.some(test) ?? true;
    return (
      some('driver', (wanted) => record.driver === wanted) &&
      some('id', (wanted) => record.id.startsWith(wanted)) &&
      some('name', (wanted) => record.name.includes(wanted)) &&
      some('scope', (wanted) => wanted === 'local') &&
      some('type', (wanted) => (wanted === 'builtin') === record.predefined) &&
      some('dangling', (wanted) =>
        /^(true|1)$/.test(wanted) ? !record.predefined && !isUsed(record) : record.predefined || isUsed(record),
      ) &&
      matchesLabels(record.labels, filters.get('label') ?? [])
    );
  };

  return {
    list(filters) {
      for (const type of filters.get('type') ?? [])
        if (type !== 'builtin' && type !== 'custom') throw invalid(`invalid filter: 'type'='${type}'`);
      return registry
        .all()
        .filter((record) => matches(record, filters))
        .map((record) => networkView(record, []));
    },
    inspect(name, { verbose }) {
      const record = registry.resolve(name);
      const attached = sandboxes.on(record.id).filter((sandbox) => sandbox.phase === 'open');
      return { ...networkView(record, attached), ...(verbose ? answersView(record, attached) : {}) };
    },
    async create(body) {
      const record = await registry.create(body);
      return { Id: record.id, Warning: '' };
    },
    async remove(name) {
      const record = registry.resolve(name);
      const attached = sandboxes.on(record.id);
      await registry.remove(
        record,
        attached.map((sandbox) => `name:"${sandbox.request.name}" id:"${sandbox.containerId.slice(0, 12)}"`),
      );
    },
    async connect(name, container, endpoint) {
      await users.connect(container, registry.resolve(name).name, endpoint);
    },
    async disconnect(name, container, force) {
      await users.disconnect(container, registry.resolve(name).name, force);
    },
    async prune(filters, untilMs) {
      const unwanted = registry
        .all()
        .filter((record) => !record.predefined && !isUsed(record))
        .filter((record) => untilMs === undefined || Date.parse(record.created) < untilMs)
        .filter((record) => matchesLabels(record.labels, filters.get('label') ?? []))
        .filter((record) => !(filters.get('label!') ?? []).some((label) => matchesLabels(record.labels, [label])));
      const removed: string[] = [];
      for (const record of unwanted) {
        await registry.remove(record, []);
        removed.push(record.name);
      }
      registry.pruned();
      return removed;
    },
  };
}

/** GET /containers/json: which containers, in which order. Pure over the records. */
import type { Filters } from '../api/filters.ts';
import { matchesLabels } from '../api/filters.ts';
import { invalid } from '../errors.ts';
import { type ContainerRecord, isRunning } from './record.ts';
import { statusOf } from './status.ts';
import { networksOf, portsOf } from './view.ts';

export const LIST_FILTERS = [
  'ancestor',
  'before',
  'expose',
  'exited',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
] as const;

export interface ListOptions {
  all: boolean;
  limit: number;
  filters: Filters;
}

/** What the filters need beyond the records. */
export interface ListWorld {
  resolve(reference: string): ContainerRecord;
  /** Ids of images that are the reference or descend from it; the reference itself when it is no image. */
  descends(image: string, ancestor: string): boolean;
}

const STATUSES = new Set(['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead']);
const HEALTH = new Set(['none', 'starting', 'healthy', 'unhealthy']);

type Test = (record: ContainerRecord, value: string) => boolean;

/** "8080", "8080/udp", "8080-8090" → whether a port is in it. */
function portRange(value: string): (port: number, protocol: string) => boolean {
  const match = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/.exec(value);
  if (!match) throw invalid(`invalid filter: invalid port '${value}'`);
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  const wanted = match[3] ?? 'tcp';
  return (port, protocol) => port >= first && port <= last && protocol === wanted;
}

/** Names match as regular expressions, as dockerd has it, with the slash optional. */
function nameTest(value: string): (name: string) => boolean {
  try {
    const pattern = new RegExp(value);
    return (name) => pattern.test(`/${name}`) || pattern.test(name);
  } catch {
    return (name) => name.includes(value.replace(/^\//, ''));
  }
}

const bool = (value: string): boolean => /^(1|t|true)$/i.test(value);

function tests(world: ListWorld): Record<string, (value: string) => (record: ContainerRecord) => boolean> {
  const simple = (test: Test) => (value: string) => (record: ContainerRecord) => test(record, value);
  return {
    ancestor: simple((record, value) => world.descends(record.image, value) || record.config.Image === value),
    expose(value) {
      const inRange = portRange(value);
      return ({ config }) =>
        Object.keys(config.ExposedPorts ?? {}).some((spec) => {
          const [port, protocol = 'tcp'] = spec.split('/');
          return inRange(Number(port), protocol);
        });
    },
    exited(value) {
      if (!/^-?\d+$/.test(value)) throw invalid(`invalid filter 'exited=${value}': it must be a whole number`);
      return (record) =>
        !isRunning(record) && record.state.hasBeenStartedBefore && record.state.exitCode === Number(value);
    },
    health(value) {
      if (!HEALTH.has(value))
        throw invalid(
          `invalid filter 'health=${value}': invalid value for health (${value}): must be one of ${[...HEALTH].join(', ')}`,
        );
      return (record) => (record.state.health?.Status ?? 'none') === value;
    },
    id: simple((record, value) => record.id.startsWith(value) || safePattern(value, record.id)),
    'is-task': simple((_, value) => !bool(value)),
    isolation: simple((record, value) => record.hostConfig.Isolation === value),
    name(value) {
      const matches = nameTest(value);
      return (record) => matches(record.name);
    },
    network: simple((record, value) =>
      Object.entries(networksOf(record)).some(([name, { NetworkID }]) => name === value || NetworkID === value),
    ),
    publish(value) {
      const inRange = portRange(value);
      return (record) =>
        portsOf(record).some((port) => port.PublicPort !== undefined && inRange(port.PublicPort, port.Type));
    },
    status(value) {
      if (!STATUSES.has(value))
        throw invalid(
          `invalid filter 'status=${value}': invalid value for state (${value}): must be one of ${[...STATUSES].join(', ')}`,
        );
      return (record) => statusOf(record) === value;
    },
    volume: simple((record, value) =>
      record.mounts.some((mount) => mount.name === value || mount.destination === value.replace(/(.)\/$/, '$1')),
    ),
  };
}

function safePattern(value: string, text: string): boolean {
  try {
    return new RegExp(value).test(text);
  } catch {
    return false;
  }
}

const createdAt = (record: ContainerRecord): string => record.created;

/** Newest first. `limit` counts every container, whether or not it runs, as in dockerd. */
export function selectContainers(
  records: Iterable<ContainerRecord>,
  { all, limit, filters }: ListOptions,
  world: ListWorld,
): ContainerRecord[] {
  const everything =
    all || limit > 0 || filters.has('status') || filters.has('exited') || filters.has('before') || filters.has('since');
  const known = tests(world);
  const conditions: ((record: ContainerRecord) => boolean)[] = [];
  for (const [key, values] of filters) {
    if (!values.length) continue;
    if (key === 'label') {
      conditions.push((record) => matchesLabels(record.config.Labels, values));
    } else if (key === 'before' || key === 'since') {
      const edges = values.map((value) => createdAt(world.resolve(value)));
      conditions.push((record) =>
        edges.every((edge) => (key === 'before' ? createdAt(record) < edge : createdAt(record) > edge)),
      );
    } else {
      const any = values.map((value) => known[key]!(value));
      conditions.push((record) => any.some((test) => test(record)));
    }
  }
  const chosen: ContainerRecord[] = [];
  for (const record of records)
    if ((everything || isRunning(record)) && conditions.every((holds) => holds(record))) chosen.push(record);
  chosen.sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0));
  return limit > 0 ? chosen.slice(0, limit) : chosen;
}

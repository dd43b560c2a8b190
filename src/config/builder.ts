/** daemon.json's `builder`: how much of the build cache is kept, and what a client may allow its builds. Keys are dockerd's, in any case. */
import { invalid } from '../errors.ts';
import { boolean, bytes, integer, type Read, string } from './values.ts';

/** Bytes; 0 sets no such bound. */
export interface CacheSpace {
  /** What a collection never goes below. */
  reserved: number;
  maxUsed: number;
  /** What is to be free on the disk. */
  minFree: number;
}

export interface CacheRule extends CacheSpace {
  /** Also what an image with a name was built from. */
  all: boolean;
  /** As those of `docker builder prune`, by their keys. */
  filters: ReadonlyMap<string, readonly string[]>;
}

export interface BuilderConfig {
  collects: boolean;
  /** What rules that say nothing of it go by; all 0: as the disk is large. */
  space: CacheSpace;
  /** In place of the usual ones. */
  rules?: readonly CacheRule[];
  /** Clients may allow `RUN --network=host`. */
  networkHost: boolean;
  /** Clients may allow `RUN --security=insecure`. */
  securityInsecure: boolean;
  /** Ended builds that `docker buildx history` shows: so many, and all that are younger than `age` milliseconds. */
  history: { entries: number; age: number };
}

export const defaultBuilder: BuilderConfig = {
  collects: true,
  space: { reserved: 0, maxUsed: 0, minFree: 0 },
  networkHost: true,
  securityInsecure: false,
  history: { entries: 50, age: 0 },
};

const FILTERS = new Set(
  ['until', 'unused-for', 'id', 'parent', 'type', 'description', 'inuse', 'shared', 'private'], // prettier-ignore
);

/** The settings of a group by their names in small letters; one that is not known is named. */
function group(value: unknown, name: string, known: readonly string[]): (key: string) => unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`invalid value ${JSON.stringify(value)} for ${name}: an object is expected`);
  const entries = Object.entries(value);
  const unknown = entries.map(([key]) => key).filter((key) => !known.includes(key.toLowerCase()));
  if (unknown.length) throw invalid(`${name} has no setting ${unknown.join(', ')}`);
  const found = new Map(entries.map(([key, inner]) => [key.toLowerCase(), inner]));
  return (key) => found.get(key);
}

/** `type=exec.cachemount`, `unused-for=48h`. BuildKit's own `==` means the same. */
const filtersOf: Read<CacheRule['filters']> = (value, name) => {
  const filters = new Map<string, string[]>();
  if (value !== undefined && !Array.isArray(value))
    throw invalid(`invalid value ${JSON.stringify(value)} for ${name}: a list of key=value is expected`);
  for (const text of (value ?? []) as unknown[]) {
    const [, key = '', wanted = ''] = /^([^=]*)==?(.*)$/.exec(string(text, name).trim()) ?? [];
    if (!FILTERS.has(key.trim().toLowerCase()))
      throw invalid(`invalid value ${JSON.stringify(text)} for ${name}: one of ${[...FILTERS].join(', ')} is expected`);
    filters.set(key.trim().toLowerCase(), [...(filters.get(key) ?? []), wanted.trim()]);
  }
  return filters;
};

const sizeOf = (value: unknown, name: string): number => (value === undefined || value === '' ? 0 : bytes(value, name));

/** Seconds, or `48h30m`: milliseconds. */
function ageOf(value: unknown, name: string): number {
  if (value === undefined) return defaultBuilder.history.age;
  if (typeof value === 'number' && value >= 0) return value * 1000;
  if (typeof value !== 'string' || !/^(\d+[smh])+$/.test(value))
    throw invalid(`invalid value ${JSON.stringify(value)} for ${name}: a time such as 48h is expected`);
  const units: Record<string, number> = { s: 1000, m: 60_000, h: 3600_000 };
  return [...value.matchAll(/(\d+)([smh])/g)].reduce((sum, [, n, unit]) => sum + Number(n) * units[unit!]!, 0);
}

/** `keepStorage` is what `reservedSpace` was called before. */
function ruleOf(value: unknown, name: string, space: CacheSpace): CacheRule {
  const known = ['all', 'filter', 'keepstorage', 'reservedspace', 'maxusedspace', 'minfreespace'];
  const of = group(value, name, known);
  const size = (key: string): number => sizeOf(of(key), `${name}.${key}`);
  return {
    all: of('all') === undefined ? false : boolean(of('all'), `${name}.all`),
    filters: filtersOf(of('filter'), `${name}.filter`),
    reserved: size('reservedspace') || size('keepstorage') || space.reserved,
    maxUsed: size('maxusedspace') || space.maxUsed,
    minFree: size('minfreespace') || space.minFree,
  };
}

export const readBuilder: Read<BuilderConfig> = (value, name) => {
  const of = group(value, name, ['gc', 'entitlements', 'history']);
  const history = group(of('history') ?? {}, `${name}.history`, ['maxage', 'maxentries']);
  const entries = history('maxentries');
  const sizes = ['defaultkeepstorage', 'defaultreservedspace', 'defaultmaxusedspace', 'defaultminfreespace'];
  const gc = group(of('gc') ?? {}, `${name}.gc`, ['enabled', 'policy', ...sizes]);
  const size = (key: string): number => sizeOf(gc(key), `${name}.gc.${key}`);
  const space = {
    reserved: size('defaultreservedspace') || size('defaultkeepstorage'),
    maxUsed: size('defaultmaxusedspace'),
    minFree: size('defaultminfreespace'),
  };
  const rules = gc('policy');
  if (rules !== undefined && !Array.isArray(rules))
    throw invalid(`invalid value ${JSON.stringify(rules)} for ${name}.gc.policy: a list is expected`);
  const entitled = group(of('entitlements') ?? {}, `${name}.entitlements`, [
    ...['network-host', 'security-insecure', 'device'],
  ]);
  const allows = (key: string, otherwise: boolean): boolean =>
    entitled(key) === undefined ? otherwise : boolean(entitled(key), `${name}.entitlements.${key}`);
  if (allows('device', false))
    throw invalid(`${name}.entitlements.device is not supported: builds are given no devices`);
  return {
    collects: gc('enabled') === undefined || boolean(gc('enabled'), `${name}.gc.enabled`),
    space,
    ...(rules && { rules: rules.map((rule, i) => ruleOf(rule, `${name}.gc.policy[${i}]`, space)) }),
    history: {
      entries:
        entries === undefined ? defaultBuilder.history.entries : integer(0)(entries, `${name}.history.maxentries`),
      age: ageOf(history('maxage'), `${name}.history.maxage`),
    },
    networkHost: allows('network-host', defaultBuilder.networkHost),
    securityInsecure: allows('security-insecure', defaultBuilder.securityInsecure),
  };
};

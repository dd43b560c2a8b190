/** Docker's form of an event fact, and which facts a client's filters let through. Pure. */
import type { Fact } from '../bus/fact.ts';
import { type Filters, matchesLabels } from './filters.ts';

/** Keys of `filters` that clients send; those of swarm objects match nothing here. */
export const EVENT_FILTERS = [
  'builder',
  'config',
  'container',
  'daemon',
  'event',
  'image',
  'label',
  'network',
  'node',
  'plugin',
  'scope',
  'secret',
  'service',
  'type',
  'volume',
] as const;

/** These carry ": details" in the Action; a filter without the colon means all of them. */
const DETAILED = new Set(['exec_create', 'exec_start', 'health_status']);

/**
 * One JSON line. `timeNano` is written as the integer it is: it has more digits than a JavaScript number holds. With
 * `seq`, the fact's position is told as well, to resume from.
 */
export function eventLine(fact: Fact, seq = false): string {
  const { type, action, id, attributes, timeNano } = fact;
  const legacy =
    type === 'container'
      ? { status: action, id, ...(attributes.image === undefined ? {} : { from: attributes.image }) }
      : type === 'image'
        ? { status: action, id }
        : {};
  const message = {
    ...legacy,
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    scope: 'local',
    time: Number(timeNano / 1_000_000_000n),
    ...(seq ? { seq: fact.seq } : {}),
  };
  return `${JSON.stringify(message).slice(0, -1)},"timeNano":${timeNano}}\n`;
}

const NAMED = ['builder', 'config', 'container', 'daemon', 'network', 'node', 'plugin', 'secret', 'service', 'volume'];

/** Values of one key OR, keys AND; ids and names match by their beginning, as in dockerd. */
export function eventMatches(fact: Fact, filters: Filters): boolean {
  const any = (key: string, test: (value: string) => boolean): boolean => {
    const values = filters.get(key);
    return !values?.length || values.some(test);
  };
  const { attributes } = fact;
  return (
    any('type', (type) => type === fact.type) &&
    any('scope', (scope) => scope === 'local') &&
    any(
      'event',
      (wanted) => fact.action === wanted || (DETAILED.has(wanted) && fact.action.startsWith(`${wanted}:`)),
    ) &&
    any('image', (image) => imageNames(fact).includes(image)) &&
    NAMED.every((key) => any(key, (name) => fact.id.startsWith(name) || (attributes.name ?? '').startsWith(name))) &&
    matchesLabels(attributes, filters.get('label'))
  );
}

function imageNames(fact: Fact): string[] {
  const name = (fact.type === 'image' ? fact.attributes.name : fact.attributes.image) ?? '';
  return [fact.id, name].flatMap((text) => [text, withoutTag(text)]).filter((text) => text !== '');
}

/** "a/b:c" and "a/b@sha256:…" → "a/b"; a registry's port stays. */
const withoutTag = (name: string): string => name.replace(/@.*$/, '').replace(/:[^/:]*$/, '');

import { describe, expect, test } from 'vitest';
import { eventLine, eventMatches } from '../../src/api/event-message.ts';
import { matchesLabels, parseFilters } from '../../src/api/filters.ts';
import { targetsOf } from '../../src/api/server.ts';
import { frame } from '../../src/api/stream.ts';
import { requestedVersion, routePath } from '../../src/api/versions.ts';
import type { Fact } from '../../src/bus/fact.ts';

const fact = (more: Partial<Fact> = {}): Fact => ({
  topic: 'event',
  type: 'container',
  action: 'start',
  id: 'c0ffee0123456789',
  attributes: { image: 'registry:5000/team/web:1.2', name: 'web', tier: 'front' },
  seq: 7,
  timeNano: 1_796_080_000_123_456_789n,
  ...more,
});
const matches = (filters: object, of: Fact = fact()): boolean =>
  eventMatches(of, parseFilters(JSON.stringify(filters), Object.keys(filters)));

test('a frame has its stream, its length and its payload', () => {
  expect([...frame(2, Buffer.from('ab'))]).toEqual([2, 0, 0, 0, 0, 0, 0, 2, 97, 98]);
});

describe('filters', () => {
  test('both JSON shapes mean the same, and a false value means nothing', () => {
    const allowed = ['label', 'status'];
    expect(parseFilters('{"label":["a","b=c"]}', allowed)).toEqual(new Map([['label', ['a', 'b=c']]]));
    expect(parseFilters('{"label":{"a":true,"b=c":true,"d":false}}', allowed)).toEqual(
      new Map([['label', ['a', 'b=c']]]),
    );
    expect(parseFilters(undefined, allowed).size).toBe(0);
    expect(parseFilters('null', allowed).size).toBe(0);
  });

  test.each(['{', '[]', '"x"', '{"label":1}', '{"label":[1]}', '{"label":null}', '{"other":["x"]}'])(
    'what is no filter is refused: %s',
    (text) => expect(() => parseFilters(text, ['label'])).toThrow(/^invalid filter/),
  );

  test('all labels must be there, with their value where one is given', () => {
    const labels = { a: '1', b: 'x=y' };
    expect(matchesLabels(labels, ['a', 'b=x=y'])).toBe(true);
    expect(matchesLabels(labels, ['a=2'])).toBe(false);
    expect(matchesLabels(labels, ['toString'])).toBe(false);
    expect(matchesLabels(undefined, [])).toBe(true);
    expect(matchesLabels(null, ['a'])).toBe(false);
  });
});

describe('events', () => {
  test('a line has all digits of its time, and the fields that old clients read', () => {
    const line = eventLine(fact());
    expect(line.endsWith('"timeNano":1796080000123456789}\n')).toBe(true);
    expect(JSON.parse(line)).toMatchObject({
      status: 'start',
      id: 'c0ffee0123456789',
      from: 'registry:5000/team/web:1.2',
      Type: 'container',
      Action: 'start',
      scope: 'local',
      time: 1_796_080_000,
    });
    expect(JSON.parse(line)).not.toHaveProperty('seq');
    expect(JSON.parse(eventLine(fact({ type: 'network' }), true))).toMatchObject({ Type: 'network', seq: 7 });
    expect(JSON.parse(eventLine(fact({ type: 'network' })))).not.toHaveProperty('status');
  });

  test('keys are joined by AND, values by OR, labels by AND', () => {
    expect(matches({ type: ['image', 'container'], event: ['start'] })).toBe(true);
    expect(matches({ type: ['container'], event: ['die'] })).toBe(false);
    expect(matches({ label: ['tier=front', 'name'] })).toBe(true);
    expect(matches({ label: ['tier=front', 'other'] })).toBe(false);
    expect(matches({ scope: ['swarm'] })).toBe(false);
  });

  test('objects are named by id, its beginning, or name; images with and without their tag', () => {
    expect(matches({ container: ['c0ffee'] })).toBe(true);
    expect(matches({ container: ['web'] })).toBe(true);
    expect(matches({ container: ['db'] })).toBe(false);
    expect(matches({ image: ['registry:5000/team/web'] })).toBe(true);
    expect(matches({ image: ['registry:5000/team/web:1.2'] })).toBe(true);
    expect(matches({ image: ['registry'] })).toBe(false);
  });

  test('an action matches exactly, save those that carry details', () => {
    const exec = fact({ action: 'exec_start: sh -c true' });
    expect(matches({ event: ['exec_start'] }, exec)).toBe(true);
    expect(matches({ event: ['exec'] }, exec)).toBe(false);
    expect(matches({ event: ['health_status'] }, fact({ action: 'health_status: healthy' }))).toBe(true);
    expect(matches({ event: ['sta'] })).toBe(false);
  });
});

test('the path that is routed has no version, no query and no double slashes', () => {
  const path = (url: string): string => routePath({ url } as Request);
  expect(path('http://localhost/v1.44/containers/json?all=1')).toBe('/containers/json');
  expect(path('http://localhost/images/a/b/json')).toBe('/images/a/b/json');
  expect(path('http://localhost/containers//web/json?x=/v1.2/')).toBe('/containers/web/json');
  expect(path('http://localhost/v1.44')).toBe('/v1.44');
  expect(requestedVersion('http://localhost/v1.44/_ping')).toBe('1.44');
  expect(requestedVersion('http://localhost/vx/_ping')).toBeUndefined();
});

test.each(['http://x', 'unix://relative', 'tcp://1.2.3.4', 'tcp://1.2.3.4:99999', 'fd://', '/run/x.sock'])(
  'no place to listen on: %s',
  (host) => expect(() => targetsOf(host)).toThrow(/^(invalid host|no sockets)/),
);

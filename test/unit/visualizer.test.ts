import { describe, expect, it } from 'vitest';
import { usageOf } from '../../src/monitor/source.ts';
import { filtered, type MonitorRow, monitorTable, size, sorted } from '../../src/monitor/table.ts';
import { causalChain, explain, factText, flapping, span, type WireFact } from '../../src/visualizer/explain.ts';
import { mermaid, tree } from '../../src/visualizer/mermaid.ts';
import type { ActorView, Chart } from '../../src/visualizer/view.ts';

const ID = 'ab'.repeat(32);
let seq = 0;
const fact = (
  topic: string,
  action: string,
  atMs: number,
  data: Record<string, unknown> = {},
  more: Partial<WireFact> = {},
): WireFact => ({
  seq: ++seq,
  timeNano: `${atMs}000000`,
  topic,
  type: 'container',
  action,
  id: topic === 'command' ? '' : ID,
  attributes: {},
  data,
  ...more,
});
const actor: ActorView = {
  kind: 'container',
  id: ID,
  name: 'web',
  state: 'restarting',
  since: 5000,
  lastEvent: 'EXIT',
  transitions: 4,
  effects: [{ name: 'teardown', startedAt: 5500 }],
  timers: [{ event: 'backoff', dueAt: 9200 }],
  accepts: ['KILL', 'STOP'],
  news: ['EXIT'],
};

describe('an explanation', () => {
  const facts = [
    fact('command', 'request', 1000, { method: 'POST', path: '/containers/other/start', status: 204 }),
    fact('command', 'request', 2000, { method: 'POST', path: `/containers/${ID}/start` }),
    fact('transition', 'START', 2001, { from: 'created', to: 'starting' }),
    fact('effect', 'end', 2050, { effect: 'launch', ms: 49 }),
    fact('transition', 'EXIT', 5000, { from: 'running', to: 'restarting' }),
    fact('effect', 'begin', 5500, { effect: 'teardown' }),
  ];

  it('goes from the API request over transitions and effects to the last transition', () => {
    expect(causalChain(facts, actor).map(({ action }) => action)).toEqual(['request', 'START', 'end', 'EXIT']);
  });

  it('says the state, what is waited for and what would be accepted', () => {
    const text = explain(actor, facts, 6000);
    expect(text).toContain('container web is restarting, for 1.0 s');
    expect(text).toContain('timer backoff in 3.2 s');
    expect(text).toContain('effect teardown, running for 500 ms');
    expect(text).toContain('KILL, STOP');
    expect(text).toContain('API POST /containers/');
  });

  it('calls a container flapping that restarted three times within a minute', () => {
    const restart = (at: number) => fact('transition', 'EXIT', at, { from: 'running', to: 'restarting' });
    expect(flapping([restart(1000), restart(2000), restart(3000)], 10_000)).toBe(true);
    expect(flapping([restart(1000), restart(2000), restart(3000)], 90_000)).toBe(false);
    expect(flapping([restart(1000), restart(2000)], 10_000)).toBe(false);
  });

  it.each([
    [40, '40 ms'],
    [3200, '3.2 s'],
    [125_000, '2 min 5 s'],
    [7_260_000, '2 h 1 min'],
  ])('%d ms reads %s', (ms, text) => expect(span(ms)).toBe(text));

  it('puts an exit code into the line of its event', () => {
    expect(factText(fact('event', 'die', 1, {}, { attributes: { exitCode: '3' } }))).toBe(
      'event container die exitCode=3',
    );
  });
});

const chart: Chart = {
  root: {
    id: 'door',
    key: 'door',
    type: 'compound',
    initial: 'door.shut',
    effects: [],
    states: [
      { id: 'door.shut', key: 'shut', type: 'atomic', effects: [], states: [] },
      {
        id: 'door.open',
        key: 'open',
        type: 'parallel',
        effects: [],
        states: [
          { id: 'door.open.lamp', key: 'lamp', type: 'atomic', effects: ['light'], states: [] },
          { id: 'door.open.bell', key: 'bell', type: 'atomic', effects: [], states: [] },
        ],
      },
    ],
  },
  edges: [{ source: 'door.shut', target: 'door.open', event: 'OPEN', guard: 'unlocked' }],
};

describe('a chart as text', () => {
  it('is Mermaid with nested and parallel states, the current one marked', () => {
    const text = mermaid(chart, ['door', 'door.shut']);
    expect(text.split('\n')[0]).toBe('stateDiagram-v2');
    expect(text).toContain('[*] --> door_shut');
    expect(text).toContain('door_shut --> door_open : OPEN [unlocked]');
    expect(text).toContain('  --');
    expect(text).toContain('class door_shut active');
  });

  it('is a tree for the terminal', () => {
    expect(tree(chart, ['door.shut']).split('\n')).toEqual([
      '● shut',
      '    OPEN [unlocked] → open',
      '○ open',
      '  ○ lamp  (light)',
      '  ○ bell',
    ]);
  });
});

describe('the monitor’s table', () => {
  const row = (name: string, more: Partial<MonitorRow> = {}): MonitorRow => ({
    id: name,
    name,
    state: 'running',
    health: '',
    since: 0,
    restarts: 0,
    lastEvent: '',
    waiting: '',
    ...more,
  });

  it('sorts the busiest first and names in their order', () => {
    const rows = [row('b', { cpu: 1 }), row('a', { cpu: 50 }), row('c')];
    expect(sorted(rows, 'cpu').map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    expect(sorted(rows, 'name').map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  it('filters by name, state and health', () => {
    expect(filtered([row('web', { health: 'unhealthy' }), row('db')], 'unhealthy').map(({ name }) => name)).toEqual([
      'web',
    ]);
  });

  it('leaves out columns that do not fit, and never gets wider than the terminal', () => {
    const lines = monitorTable([row('a-name-that-is-much-too-long-for-its-column')], 5000, 60);
    expect(lines.every((line) => line.length <= 60)).toBe(true);
    expect(lines[0]).toMatch(/^NAME\s+STATE/);
    expect(lines[1]).toContain('…');
  });

  it('computes cpu from two samples, and memory without the page cache', () => {
    const usage = usageOf(
      {
        cpu_stats: { cpu_usage: { total_usage: 1.5e9 } },
        memory_stats: { usage: 100, stats: { total_inactive_file: 30 } },
      },
      { cpu: 1e9, at: 1000 },
      2000,
    );
    expect(usage).toMatchObject({ cpu: 50, memory: 70 });
  });

  it.each([
    [999, '999 B'],
    [1500, '1.5 kB'],
    [123_456_789, '123 MB'],
  ])('%d bytes read %s', (bytes, text) => expect(size(bytes)).toBe(text));
});

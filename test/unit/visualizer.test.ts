import { describe, expect, it } from 'vitest';
import { took } from '../../src/lib/took.ts';
import { outputLines } from '../../src/monitor/logs.ts';
import { createMetrics } from '../../src/monitor/metrics.ts';
import { usageOf } from '../../src/monitor/source.ts';
import { filtered, type MonitorRow, monitorTable, size, sorted } from '../../src/monitor/table.ts';
import { explain, factText, flapping, span, waitingFor, type WireFact } from '../../src/visualizer/explain.ts';
import { collapse, compounds } from '../../src/visualizer/collapse.ts';
import { feedLines, sample } from '../../src/visualizer/feed.ts';
import { mermaid, tree } from '../../src/visualizer/mermaid.ts';
import { activeIds, actorAt, usualDurations, visitsOf } from '../../src/visualizer/past.ts';
import type { ActorView, Chart } from '../../src/visualizer/view.ts';
import { shownCommand } from '../../src/visualizer/redact.ts';
import { chainEnds, chainTo, type Past, toldChain } from '../../src/visualizer/why.ts';
import type { Fact } from '../../src/bus/fact.ts';
import { testDeps } from '../support/deps.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { keepJournal } from '../../src/store/retention.ts';

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
  effects: [{ name: 'teardown', startedAt: 5500, limit: 30_000 }],
  timers: [{ event: 'backoff', dueAt: 9200 }],
  accepts: ['KILL', 'STOP'],
  news: ['EXIT'],
};

/** A past that has these facts. */
const pastOf = (facts: readonly WireFact[]): Past => ({
  fact: (wanted) => facts.find((one) => one.seq === wanted),
  moveBefore: ({ id, seq: before }) =>
    facts.findLast((one) => one.topic === 'transition' && one.id === id && one.seq < before),
});

describe('the causal chain', () => {
  const command = fact('command', 'accept', 2000, { method: 'POST', path: '/containers/web/start' });
  /** Another request in the very same milliseconds. */
  const other = fact('command', 'accept', 2000, { method: 'POST', path: '/containers/web/stop' });
  const request = command.seq;
  const started = fact(
    'transition',
    'START',
    2001,
    { from: 'created', to: 'starting', request },
    { cause: command.seq },
  );
  const launch = fact('effect', 'begin', 2001, { effect: 'launch' }, { cause: started.seq });
  const refused = fact('command', 'refuse', 2002, { path: '/containers/web/stop', status: 409 }, { cause: other.seq });
  const launched = fact('effect', 'end', 2050, { effect: 'launch', ms: 49 }, { cause: launch.seq });
  const up = fact('transition', 'done', 2050, { from: 'starting', to: 'running', request }, { cause: launched.seq });
  const told = fact('event', 'start', 2050, {}, { cause: up.seq });
  const answer = fact('command', 'answer', 2051, { status: 204 }, { cause: command.seq });
  const ended = fact('transition', 'EXIT', 5000, { from: 'running', to: 'restarting', request }, { cause: launch.seq });
  const died = fact('event', 'die', 5000, {}, { cause: ended.seq });
  const facts = [command, other, started, launch, refused, launched, up, told, answer, ended, died];
  const seqs = (list: readonly WireFact[]): number[] => list.map((one) => one.seq);

  it('goes from the API request over transition and effect to the last fact, whatever else happens meanwhile', () => {
    const chain = chainTo(up, pastOf(facts));
    expect(seqs(chain.facts)).toEqual(seqs([command, started, launch, launched, up]));
    // An effect is told by its end; events and answers are added by the causes that they name.
    expect(seqs(toldChain(chain, facts).facts)).toEqual(seqs([command, started, launched, up, told, answer]));
  });

  it('goes on over news of an effect, from where the actor was by then', () => {
    expect(seqs(chainTo(ended, pastOf(facts)).facts)).toEqual(seqs([command, started, launch, launched, up, ended]));
  });

  it('goes on over a new life of the daemon', () => {
    const again = fact('transition', 'xstate.init', 9000, { from: '', to: 'running' });
    expect(seqs(chainTo(again, pastOf([...facts, again])).facts)).toEqual([
      ...seqs(chainTo(ended, pastOf(facts)).facts),
      again.seq,
    ]);
  });

  it('says when something is missing, and then still has the request', () => {
    const chain = chainTo(ended, pastOf(facts.filter((one) => one !== launched)));
    expect(chain).toMatchObject({ isCut: true, isBroken: true });
    expect(seqs(chain.facts)).toEqual(seqs([command, up, ended]));
    expect(chainTo(ended, pastOf([up, ended]))).toMatchObject({ isBroken: true });
  });

  it('keeps the ends of a loop that went on for long', () => {
    const loop = [command];
    for (let i = 0; i < 1000; i++)
      loop.push(fact('transition', 'EXIT', 3000 + i, { from: 'a', to: 'b', request }, { cause: loop.at(-1)!.seq }));
    const { head, left, tail } = chainEnds(chainTo(loop.at(-1)!, pastOf(loop)));
    expect([seqs(head), left, tail.length, tail.at(-1)]).toEqual([
      [command.seq],
      'more than 484 more',
      16,
      loop.at(-1),
    ]);
  });
});

describe('an explanation', () => {
  it('calls an effect late that runs far longer than it usually does', () => {
    const slow = { ...actor, effects: [{ name: 'settle', startedAt: 0, limit: 80_000 }], timers: [] };
    expect(waitingFor(slow, 31_000, new Map([['settle', 50]]))).toEqual([
      'effect settle, running for 31.0 s of at most 1 min 20 s (usually 50 ms): it is late',
    ]);
    expect(waitingFor(slow, 31_000, new Map([['settle', 20_000]]))[0]).not.toContain('late');
    expect(waitingFor(slow, 80_001)[0]).toContain('late');
    // A probe runs as long as its container.
    expect(waitingFor({ ...slow, effects: [{ name: 'probes', startedAt: 0 }] }, 9e9)).toEqual([
      'effect probes, running for 2500 h 0 min, open-ended',
    ]);
  });

  it('says the state, what is waited for and what would be accepted', () => {
    const command = fact('command', 'accept', 2000, { method: 'POST', path: `/containers/${ID}/start` });
    const moved = fact('transition', 'EXIT', 5000, { from: 'running', to: 'restarting' }, { cause: command.seq });
    const text = explain(actor, [moved], chainTo(moved, pastOf([command, moved])), 6000);
    expect(text).toContain('container web is restarting, for 1.0 s');
    expect(text).toContain('timer backoff in 3.2 s');
    expect(text).toContain('effect teardown, running for 500 ms of at most 30.0 s');
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

describe('a command that is shown', () => {
  it.each([
    [['env', 'PASSWORD=hunter2', 'web', '--port=80'], 'env PASSWORD=… web --port=80'],
    [['sh', '-c', 'TOKEN="hunter 2" run; DB=hunter2 run'], 'sh -c TOKEN=… run; DB=… run'],
    [['login', '--password', 'hunter2', '--db-passwd=hunter2', '-u', 'me'], 'login --password … --db-passwd=… -u me'],
    [['psql', 'postgres://me:hunter2@db/x'], 'psql postgres://…@db/x'],
    [['curl', '-H', 'Authorization: Bearer hunter2'], 'curl -H Authorization: …'],
    [['/usr/bin/mysqladmin', '-u', 'root', '-phunter2', 'ping'], '/usr/bin/mysqladmin -u root -p… ping'],
    [['find', '/', '-print', '-path', 'passwords'], 'find / -print -path passwords'],
  ])('%j reads %s', (command, text) => expect(shownCommand(command)).toBe(text));
});

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

describe('a folded chart', () => {
  const outer: Chart = {
    root: {
      ...chart.root,
      states: [
        chart.root.states[0]!,
        { ...chart.root.states[1]!, states: [...chart.root.states[1]!.states] },
        { id: 'door.gone', key: 'gone', type: 'final', effects: [], states: [] },
      ],
    },
    edges: [
      ...chart.edges,
      { source: 'door.open.lamp', target: 'door.open.bell', event: 'RING' },
      { source: 'door.open.lamp', target: 'door.gone', event: 'FALL' },
      { source: 'door.open', target: 'door.gone', event: 'LIFT', guard: 'strong' },
    ],
  };

  it('draws a closed state as one box, and edges between the outermost states they leave and enter', () => {
    const { nodes, edges } = collapse(outer, new Set());
    expect(nodes.map(({ key, hidden }) => [key, hidden])).toEqual([
      ['shut', 0],
      ['open', 2],
      ['gone', 0],
    ]);
    expect(edges.map(({ id, events }) => [id, events])).toEqual([
      ['door.shut→door.open', ['OPEN [unlocked]']],
      ['door.open→door.gone', ['FALL', 'LIFT [strong]']],
    ]);
  });

  it('draws the inside of an open one', () => {
    const { edges } = collapse(outer, new Set(compounds(outer.root)));
    expect(edges.find(({ parent }) => parent === 'door.open')).toMatchObject({
      source: 'door.open.lamp',
      events: ['RING'],
    });
  });
});

describe('the past of an actor', () => {
  const move = (at: number, from: string, to: string) => fact('transition', 'GO', at, { from, to });
  const facts = [
    move(1000, '', 'shut'),
    move(2000, 'shut', 'open{lamp: off, bell: on}'),
    fact('effect', 'begin', 2500, { effect: 'light' }),
    fact('effect', 'end', 2600, { effect: 'light', ms: 100 }),
    fact('effect', 'begin', 2800, { effect: 'light' }),
    move(4000, 'open{lamp: off, bell: on}', 'shut'),
  ];

  it('has its state and its running effects at any moment', () => {
    expect(actorAt(actor, facts, 500).state).toBe('');
    expect(actorAt(actor, facts, 1500)).toMatchObject({ state: 'shut', since: 1000, transitions: 1 });
    expect(actorAt(actor, facts, 3000)).toMatchObject({ effects: [{ name: 'light', startedAt: 2800 }] });
    // What is kept begins later than the moment: the next transition tells.
    expect(actorAt(actor, facts.slice(5), 3000).state).toBe('open{lamp: off, bell: on}');
  });

  it('counts visits and dwell times of each state, nested and parallel ones by their place', () => {
    expect(activeIds(chart, 'open{lamp: off, bell: on}')).toEqual(
      new Set(['door.open', 'door.open.lamp', 'door.open.bell']),
    );
    // A region's state is not taken for an outer state of the same name.
    expect(activeIds(chart, 'open{lamp: shut}').has('door.shut')).toBe(false);
    const visits = visitsOf(chart, facts, 5000);
    expect(visits.get('door.shut')).toEqual({ count: 2, ms: 2000 });
    expect(visits.get('door.open.bell')).toEqual({ count: 1, ms: 2000 });
    expect(usualDurations(facts)).toEqual(new Map([['light', 100]]));
  });
});

describe('the feed', () => {
  const busy = (count: number): Fact[] =>
    Array.from({ length: count }, (_, i) => ({
      seq: i,
      timeNano: 0n,
      topic: i % 2 ? ('effect' as const) : ('transition' as const),
      type: 'container',
      action: 'X',
      id: String(i % 10),
      attributes: {},
    }));

  it('leaves out effects first, then all but the last move of each actor', () => {
    expect(sample(busy(10), 10)).toHaveLength(10);
    expect(sample(busy(20), 10).every(({ topic }) => topic === 'transition')).toBe(true);
    expect(sample(busy(100), 10).map(({ seq }) => seq)).toEqual([90, 92, 94, 96, 98]);
  });

  it('tells how many facts it left out, and holds nothing when its reader is gone', async () => {
    const clock = new ManualClock();
    const { bus } = testDeps({ clock });
    const gone = new AbortController();
    const lines = feedLines({ bus, clock, whole: false, gone: gone.signal });
    expect((await lines.next()).value).toBe('{"connected":true}\n');
    const next = lines.next();
    // Its first fact wakes it; it looks at what came when this turn is over.
    for (let i = 0; i < 1000; i++) bus.publish({ topic: 'effect', type: 'container', action: 'begin', id: 'a' });
    bus.publish({ topic: 'transition', type: 'container', action: 'GO', id: 'a' });
    const told = String((await next).value)
      .trim()
      .split('\n');
    expect(told[0]).toBe('{"skipped":1000}');
    expect(told).toHaveLength(2);
    const last = lines.next();
    gone.abort();
    expect((await last).done).toBe(true);
    expect(clock.pending).toBe(0);
  });
});

describe('the metrics', () => {
  const metrics = (deps: ReturnType<typeof testDeps>, count: number) =>
    createMetrics({
      ...{ bus: deps.bus, reactor: deps.reactor, journal: deps.store.journal, host: deps.host },
      ...{ daemonId: 'd', commit: 'c' },
      containers: () =>
        Array.from({ length: count }, (_, i) => ({
          ...{ id: `${i}`.padStart(64, '0'), name: `n${i}`, state: 'running', restarts: i },
          labels: { 'reactord.metrics': i ? 'true' : 'false' },
        })),
    });

  it('have series of the containers that ask for it, and of no more than a hundred', async () => {
    const { text, close } = metrics(testDeps({ clock: new ManualClock() }), 150);
    const told = (await text()).match(/^reactord_container_restarts\{.*name="n\d+"\} \d+$/gm) ?? [];
    expect(told).toHaveLength(100);
    expect(told[0]).toContain('name="n1"} 1');
    close();
  });

  it('count as a health check an exec that a container’s probes led to, and no other', async () => {
    const deps = testDeps({ clock: new ManualClock() });
    const { text, close } = metrics(deps, 0);
    const effect = (type: string, id: string, name: string, action: string) =>
      deps.bus.publish({
        topic: 'effect',
        type,
        id,
        action,
        data: { effect: name, ...(action === 'end' ? { ms: 1 } : {}) },
      });
    const move = (id: string, from: string, to: string, cause?: number) =>
      deps.bus.publish({ topic: 'transition', type: 'exec', id, action: 'X', data: { from, to }, cause });
    const die = (execID: string, exitCode: string) =>
      deps.bus.publish({
        topic: 'event',
        type: 'container',
        id: 'c',
        action: 'exec_die',
        attributes: { execID, exitCode },
      });
    const { seq } = effect('container', 'c', 'probes', 'begin');
    for (const [id, cause, code] of [
      ['well', seq, '0'],
      ['sick', seq, '1'],
      ['other', undefined, '1'],
    ] as const) {
      move(id, '', 'created', cause);
      effect('exec', id, 'start', 'end');
      die(id, code);
      move(id, 'settling', 'exited');
    }
    // It could not be started.
    move('broken', '', 'created', seq);
    move('broken', 'settling', 'exited');
    // The container stopped: what comes later is nobody's check.
    effect('container', 'c', 'probes', 'stop');
    move('late', '', 'created', seq);
    const told = await text();
    expect(told).toContain('engine_daemon_health_checks_total 3\n');
    expect(told).toContain('engine_daemon_health_checks_failed_total 2\n');
    expect(told).toContain('engine_daemon_health_check_start_duration_seconds_count 2\n');
    close();
  });

  it('measure what is no effect: reads of the host and of a container’s changes', async () => {
    const { text, close } = metrics(testDeps({ clock: new ManualClock() }), 0);
    await took('host', 'system_info', () => 1);
    await took('network', 'release', async () => {});
    await took('container', 'changes', () => Promise.reject(new Error('gone'))).catch(() => {});
    const told = await text();
    expect(told).toContain('engine_daemon_host_info_functions_seconds_count{function="system_info"} 1\n');
    expect(told).toContain('engine_daemon_network_actions_seconds_count{action="release"} 1\n');
    expect(told).toContain('engine_daemon_container_actions_seconds_count{action="changes"} 0\n');
    close();
  });
});

describe('the journal’s retention', () => {
  it('keeps no more facts and no older ones than told, looking soon after the start and every ten minutes', () => {
    const clock = new ManualClock();
    const { bus, store, config, log } = testDeps({ clock, config: { journalKeep: 5, journalDays: 2 } });
    const stop = keepJournal({ store, clock, config, log });
    const publish = (): unknown => bus.publish({ topic: 'event', type: 'container', action: 'start', id: 'a' });
    for (let i = 0; i < 8; i++) publish();
    clock.advance(1000);
    expect(store.journal.read({}).map(({ seq }) => seq)).toEqual([4, 5, 6, 7, 8]);
    clock.advance(2 * 86_400_000);
    publish();
    clock.advance(10 * 60_000);
    expect(store.journal.read({}).map(({ seq }) => seq)).toEqual([9]);
    stop();
    expect(clock.pending).toBe(0);
  });
});

describe('logs in the monitor', () => {
  it('are lines of text that cannot touch the terminal, from frames or from a raw stream', () => {
    const framed = Buffer.from('\x01\0\0\0\0\0\0\x0bone\x1b[31m\ntw\x02\0\0\0\0\0\0\x02o\n', 'latin1');
    expect(outputLines(framed)).toEqual(['one', 'two']);
    expect(outputLines(Buffer.from('raw\r\n\x07bell\n'))).toEqual(['raw', 'bell']);
  });
});

describe('the monitor’s table', () => {
  const row = (name: string, more: Partial<MonitorRow> = {}): MonitorRow => ({
    id: name,
    name,
    project: '',
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

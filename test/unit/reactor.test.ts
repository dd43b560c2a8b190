import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, createActor, fromPromise, setup } from 'xstate';
import { buildMachine } from '../../src/build/machine.ts';
import { causedBy } from '../../src/bus/cause.ts';
import { wireMachine } from '../../src/container/actors.ts';
import { conflict } from '../../src/errors.ts';
import { Execs } from '../../src/exec/service.ts';
import { layerLogic, pullActors } from '../../src/image/pull/actors.ts';
import { pushActors, pushedLayerLogic } from '../../src/image/push/actors.ts';
import { networkMachine } from '../../src/network/machine.ts';
import { effect, limitOf } from '../../src/reactor/effect.ts';
import { ask, type Reply } from '../../src/reactor/ask.ts';
import { stateText } from '../../src/reactor/state-text.ts';
import { acceptedEvents, activeNodes, chartOf, eventText, viewActor } from '../../src/visualizer/view.ts';
import { eventually } from '../support/eventually.ts';
import { testDeps } from '../support/deps.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { volumeLogic } from '../../src/volume/actors.ts';

const door = setup({
  types: { events: {} as { type: 'OPEN'; reply?: Reply } | { type: 'SHUT' } },
  actors: { swing: fromPromise(async () => {}), jam: fromPromise(async () => Promise.reject(new Error('stuck'))) },
  delays: { settle: 60_000 },
  actions: { answer: ({ event }) => event.type === 'OPEN' && event.reply?.resolve() },
}).createMachine({
  id: 'door',
  initial: 'shut',
  states: {
    shut: { on: { OPEN: { target: 'opening', actions: 'answer' } } },
    opening: { invoke: { src: 'swing', onDone: 'open', onError: 'shut' } },
    open: {
      type: 'parallel',
      states: { lamp: { initial: 'on', states: { on: {} } }, bell: { initial: 'off', states: { off: {} } } },
      on: { SHUT: 'closing' },
    },
    closing: { invoke: { src: 'jam', onDone: 'shut', onError: 'jammed' } },
    jammed: { after: { settle: 'shut' } },
  },
});

describe('the reactor', () => {
  it('makes a fact of each transition and of each effect', async () => {
    const deps = testDeps();
    const actor = deps.reactor.spawn('door', 'front', door, { input: undefined as never });
    actor.send({ type: 'OPEN' });
    await eventually(() => actor.getSnapshot().matches('open'));
    const told = deps.facts.map(
      ({ topic, action, data }) => `${topic} ${action} ${data?.effect ?? `${data?.from}→${data?.to}`}`,
    );
    expect(told).toContain('transition OPEN shut→opening');
    expect(told).toContain('effect begin swing');
    expect(told).toContain('effect end swing');
    expect(told).toContain('transition xstate.done.actor.0.door.opening opening→open{lamp: on, bell: off}');
    expect(deps.facts.every(({ type, id }) => type === 'door' && id === 'front')).toBe(true);
  });

  it('tells a failed effect with its error, and shows timers and what is accepted', async () => {
    const deps = testDeps();
    const actor = deps.reactor.spawn('door', 'front', door, { input: undefined as never });
    actor.send({ type: 'OPEN' });
    await eventually(() => actor.getSnapshot().matches('open'));
    expect(acceptedEvents(actor.getSnapshot())).toEqual(['SHUT']);
    actor.send({ type: 'SHUT' });
    await eventually(() => actor.getSnapshot().matches('jammed'));
    expect(deps.facts.find(({ action }) => action === 'fail')?.data).toMatchObject({ effect: 'jam', error: 'stuck' });
    const view = viewActor(deps.reactor.entry('door', 'front')!, 'front door');
    expect(view).toMatchObject({ state: 'jammed', name: 'front door', effects: [] });
    expect(view.timers).toHaveLength(1);
    expect(view.timers[0]!.dueAt).toBeGreaterThan(Date.now());
    deps.reactor.stop();
  });

  it('replaces an actor of the same name, and forgets one that is removed', () => {
    const deps = testDeps();
    const first = deps.reactor.spawn('door', 'front', door, { input: undefined as never });
    const second = deps.reactor.spawn('door', 'front', door, { input: undefined as never });
    expect(first.getSnapshot().status).toBe('stopped');
    expect(deps.reactor.get('door', 'front')).toBe(second);
    deps.reactor.remove('door', 'front');
    expect(deps.reactor.size).toBe(0);
  });

  it('draws a running actor’s chart from its own machine', () => {
    const deps = testDeps();
    const actor = deps.reactor.spawn('door', 'front', door, { input: undefined as never });
    const chart = chartOf(actor)!;
    expect(chart.root.states.map(({ key }) => key)).toEqual(['shut', 'opening', 'open', 'closing', 'jammed']);
    expect(chart.root.states.find(({ key }) => key === 'opening')?.effects).toEqual(['swing']);
    expect(chart.edges).toContainEqual({ source: 'door.shut', target: 'door.opening', event: 'OPEN' });
    expect(chart.edges.find(({ source }) => source === 'door.jammed')?.event).toBe('after settle');
    expect(activeNodes(actor)).toContain('door.shut');
  });

  it('lets nobody wait longer than an effect may take: who asked is told what for, whoever comes later too, and it goes on', async () => {
    const clock = new ManualClock();
    const deps = testDeps({ clock });
    const swung = Promise.withResolvers<void>();
    const stiff = setup({
      types: { events: {} as { type: 'OPEN' | 'SHUT'; reply: Reply } },
      actors: { swing: effect<void>(5000, () => swung.promise) },
    }).createMachine({
      initial: 'shut',
      states: {
        shut: { on: { OPEN: 'opening' } },
        opening: { on: { SHUT: { actions: () => {} } }, invoke: { src: 'swing', onDone: 'open' } },
        open: {},
      },
    });
    const actor = deps.reactor.spawn('door', 'front', stiff, { input: undefined as never });
    const told = (type: 'OPEN' | 'SHUT'): Promise<unknown> =>
      ask(
        actor,
        (reply) => ({ type, reply }),
        () => conflict('it is open'),
      ).catch((error: unknown) => error);
    const early = told('OPEN');
    clock.advance(9999);
    clock.advance(1);
    const late = told('SHUT');
    clock.advance(10_000);
    const refusal = {
      kind: 'deadline',
      message: 'door front is still opening: it waited 10 s for swing, which goes on',
    };
    expect(await Promise.all([early, late])).toMatchObject([refusal, refusal]);
    swung.resolve();
    await eventually(() => actor.getSnapshot().matches('open'));
    expect(deps.reactor.entry('door', 'front')!.effects.size).toBe(0);
  });

  it('shows a chart that somebody else runs, and does not stop it', async () => {
    const deps = testDeps();
    const root = createActor(door).start();
    deps.reactor.watch('reactor', 'root', root);
    root.send({ type: 'OPEN' });
    expect(deps.reactor.entry('reactor', 'root')).toMatchObject({ state: 'opening', transitions: 2 });
    expect([...deps.reactor.entry('reactor', 'root')!.effects.values()]).toMatchObject([{ name: 'swing' }]);
    await eventually(() => deps.facts.at(-1)?.data?.to === 'open{lamp: on, bell: off}');
    deps.reactor.stop();
    expect(root.getSnapshot().status).toBe('active');
    root.stop();
  });
});

describe('the cause of a fact', () => {
  const tell = (deps: ReturnType<typeof testDeps>, action: string) =>
    deps.bus.publish({ topic: 'event', type: 'door', action, id: 'front' });
  /** Rings once it is open, also when nobody waits any more. */
  const bell = (deps: ReturnType<typeof testDeps>, ring: Promise<void>) =>
    setup({
      types: { events: {} as { type: 'OPEN' } | { type: 'RING' } },
      actors: {
        swing: effect<void, { send: (event: { type: 'RING' }) => void }>(5000, async ({ input }) => {
          void ring.then(() => input.send({ type: 'RING' }));
          tell(deps, 'squeak');
        }),
      },
      actions: { announce: (_, action: string) => tell(deps, action) },
      delays: { shutting: 1 },
    }).createMachine({
      initial: 'shut',
      states: {
        shut: { on: { OPEN: { target: 'opening', actions: { type: 'announce', params: 'open' } } } },
        opening: {
          invoke: { src: 'swing', input: ({ self }) => ({ send: (event) => self.send(event) }), onDone: 'open' },
        },
        open: { on: { RING: { target: 'rung', actions: { type: 'announce', params: 'ring' } } } },
        rung: { after: { shutting: 'shut' } },
      },
    });

  it('is told from the request over transition and effect to news that come much later, whoever else is busy', async () => {
    const deps = testDeps();
    const ring = Promise.withResolvers<void>();
    const machine = bell(deps, ring.promise);
    const actor = deps.reactor.spawn('door', 'front', machine, { input: undefined as never });
    const command = (path: string) => deps.bus.publish({ topic: 'command', type: 'api', action: 'accept', id: path });
    const { seq } = command('/open');
    causedBy({ seq, request: seq }, () => actor.send({ type: 'OPEN' }));
    await eventually(() => actor.getSnapshot().matches('open'));
    const stranger = command('/other').seq;
    causedBy({ seq: stranger, request: stranger }, () => ring.resolve());
    await eventually(() => deps.facts.at(-1)?.data?.from === 'rung');
    const line = ({ topic, action, data }: (typeof deps.facts)[number]): string =>
      topic === 'transition' ? `to ${String(data?.to)}` : topic === 'effect' ? `swing ${action}` : action;
    const bySeq = new Map(deps.facts.map((fact) => [fact.seq, fact]));
    const links = deps.facts.map((fact) => {
      const cause = bySeq.get(fact.cause ?? 0);
      return `${cause ? line(cause) : '-'} > ${line(fact)}`;
    });
    expect(links).toEqual([
      '- > to shut',
      '- > accept',
      'accept > to opening',
      'to opening > open',
      'to opening > swing begin',
      'swing begin > squeak',
      'swing begin > swing end',
      'swing end > to open',
      '- > accept',
      'swing begin > to rung',
      'to rung > ring',
      'to rung > to shut',
    ]);
    const moves = deps.facts.filter(({ topic }) => topic === 'transition');
    expect(moves.slice(1).map(({ data }) => data?.request)).toEqual(moves.slice(1).map(() => seq));
    deps.reactor.stop();
  });

  it('of an effect that is stopped is the transition that left its state', async () => {
    const deps = testDeps();
    const waiting = setup({ actors: { wait: effect<void>(5000, () => new Promise(() => {})) } }).createMachine({
      initial: 'on',
      states: { on: { invoke: { src: 'wait' }, on: { OFF: 'off' } }, off: {} },
    });
    const actor = deps.reactor.spawn('lamp', 'a', waiting, { input: undefined as never });
    actor.send({ type: 'OFF' });
    const [stop, move] = [
      deps.facts.find(({ action }) => action === 'stop'),
      deps.facts.findLast(({ topic }) => topic === 'transition'),
    ];
    expect(stop?.cause).toBe(move?.seq);
    expect(deps.reactor.entry('lamp', 'a')?.effects.size).toBe(0);
  });

  it('does not begin what the same step leaves again', () => {
    const deps = testDeps();
    const passing = setup({ actors: { wait: effect<void>(5000, () => new Promise(() => {})) } }).createMachine({
      initial: 'off',
      states: { off: { on: { ON: 'on' } }, on: { invoke: { src: 'wait' }, always: 'gone' }, gone: {} },
    });
    const actor = deps.reactor.spawn('lamp', 'a', passing, { input: undefined as never });
    actor.send({ type: 'ON' });
    expect(deps.facts.filter(({ topic }) => topic === 'effect')).toEqual([]);
    expect(deps.reactor.entry('lamp', 'a')).toMatchObject({ state: 'gone', effects: new Map() });
  });
});

describe('every effect', () => {
  const none = {} as never;
  const execs = (): AnyStateMachine => {
    const machines: AnyStateMachine[] = [];
    const reactor = { spawn: (_kind: string, _id: string, machine: AnyStateMachine) => machines.push(machine) };
    const record = { id: 'c', phase: 'running' };
    const deps = { reactor, resolve: () => record, task: () => ({}), publish: () => {} };
    new Execs(deps as never).create('c', { command: ['true'], tty: false } as never);
    return machines[0]!;
  };
  const actorsOf = ({ implementations }: AnyStateMachine): [string, object][] => Object.entries(implementations.actors);
  it.each<[string, [string, object][]]>([
    ['a container', actorsOf(wireMachine(none, none))],
    ['an exec', actorsOf(execs())],
    ['a network', actorsOf(networkMachine(none))],
    ['a volume', actorsOf(volumeLogic(none, none))],
    ['a build', actorsOf(buildMachine)],
    ['a pull', [...Object.entries(pullActors(none)), ...actorsOf(layerLogic(none))]],
    ['a push', [...Object.entries(pushActors(none)), ...actorsOf(pushedLayerLogic(none))]],
  ])('of %s declares how long it may take', (_, actors) => {
    expect(actors.length).toBeGreaterThan(1);
    expect(actors.filter(([, logic]) => limitOf(logic) === undefined).map(([name]) => name)).toEqual([]);
  });
});

describe('a command', () => {
  const refusal = (snapshot: { value: unknown }, command: string) =>
    conflict(`cannot ${command}: it is ${String(snapshot.value)}`);

  it('is accepted by the state that has a transition for it', async () => {
    const actor = testDeps().reactor.spawn('door', 'front', door, { input: undefined as never });
    await expect(ask(actor, (reply) => ({ type: 'OPEN', reply }), refusal)).resolves.toBeUndefined();
  });

  it('is refused at once in any other, naming the state', async () => {
    const actor = testDeps().reactor.spawn('door', 'front', door, { input: undefined as never });
    await expect(ask(actor, (reply) => ({ type: 'SHUT', reply }), refusal)).rejects.toThrow('cannot SHUT: it is shut');
  });
});

describe('the text of a state', () => {
  it.each([
    ['exited', 'exited'],
    [{ starting: 'preparing' }, 'starting.preparing'],
    [{ running: { process: 'up', health: 'none' } }, 'running{process: up, health: none}'],
    [{ a: { b: { c: 'd' } } }, 'a.b.c.d'],
  ])('%j reads %s', (value, text) => expect(stateText(value as never)).toBe(text));
});

describe('the text of an event', () => {
  it.each([
    ['START', 'START'],
    ['xstate.after.backoff.container.restarting', 'after backoff'],
    ['xstate.done.actor.0.container.starting', 'done container.starting'],
    ['', 'always'],
  ])('%s reads %s', (type, text) => expect(eventText(type)).toBe(text));
});

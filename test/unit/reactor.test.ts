import { describe, expect, it } from 'vitest';
import { fromPromise, setup } from 'xstate';
import { conflict } from '../../src/errors.ts';
import { ask, type Reply } from '../../src/reactor/ask.ts';
import { stateText } from '../../src/reactor/state-text.ts';
import { acceptedEvents, activeNodes, chartOf, eventText, viewActor } from '../../src/visualizer/view.ts';
import { eventually } from '../support/eventually.ts';
import { testDeps } from '../support/deps.ts';

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

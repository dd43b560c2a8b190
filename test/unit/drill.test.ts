import { describe, expect, it } from 'vitest';
import { Bus } from '../../src/bus/bus.ts';
import { armDrill, parseDrill } from '../../src/reactor/drill.ts';
import { testDeps } from '../support/deps.ts';

const moved = (bus: Bus, to: string): void =>
  void bus.publish({ topic: 'transition', type: 'container', action: 'GO', id: 'a', data: { to } });

describe('a drill', () => {
  it('is refused when it names no time and place', () => {
    expect(() => parseDrill('now:transition:container:running')).toThrow('REACTORD_DRILL');
    expect(() => parseDrill('before:container')).toThrow('REACTORD_DRILL');
  });

  it.each([
    ['running', 'running{process: up, health: none}', true],
    ['running.health.none', 'running{process: up, health: none}', true],
    ['running.process.paused', 'running{process: up, health: none}', false],
    ['run', 'running{process: up, health: none}', false],
    ['starting.creating', 'starting.creating', true],
    ['starting', 'starting.creating', false],
  ])('at %s, when a container moves to %s: %s', (name, to, dies) => {
    const { bus } = testDeps();
    let deaths = 0;
    armDrill(bus, parseDrill(`before:transition:container:${name}`), () => deaths++);
    moved(bus, to);
    expect(deaths > 0).toBe(dies);
  });

  it('at an effect dies at its begin or its end, of the kind named alone', () => {
    const { bus } = testDeps();
    let deaths = 0;
    armDrill(bus, parseDrill('before:effect:container:launch/end'), () => deaths++);
    const effect = (type: string, action: string): void =>
      void bus.publish({ topic: 'effect', type, action, id: 'a', data: { effect: 'launch' } });
    effect('container', 'begin');
    effect('exec', 'end');
    expect(deaths).toBe(0);
    effect('container', 'end');
    expect(deaths).toBe(1);
  });

  it('after a fact lets the commit of its turn pass first', async () => {
    const { bus } = testDeps();
    const order: string[] = [];
    armDrill(bus, parseDrill('after:transition:container:exited'), () => order.push('death'));
    setImmediate(() => order.push('commit'));
    moved(bus, 'exited');
    await new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));
    expect(order).toEqual(['commit', 'death']);
  });
});

/**
 * kill -9 exactly at a transition, before and after it is durable, for every state that the container's chart has: the list comes from the machine itself,
 * so a new state is drilled without anyone adding it. `npm test` runs a part; DRILLS=all runs every one.
 */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containerMachine } from '../../src/container/machine.ts';
import { chartOfMachine, type ChartNode } from '../../src/visualizer/view.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectNoLeaks } from '../support/leak-check.ts';

/** States nothing but another failure leads to, and those of a boot. */
const NOT_BY_COMMANDS = /^(restoring|dead|removed)/;

/** Outermost and nested states as the reactor's facts name them; regions of a parallel state count as one. */
function statesOf(node: ChartNode, prefix = ''): string[] {
  return node.states.flatMap((child) => {
    const path = prefix ? `${prefix}.${child.key}` : child.key;
    return child.states.length && child.type !== 'parallel' ? statesOf(child, path) : [path];
  });
}

const chart = chartOfMachine(containerMachine);
const states = statesOf(chart.root).filter((state) => !NOT_BY_COMMANDS.test(state));
const drills = states.flatMap((state) => (['before', 'after'] as const).map((when) => ({ state, when })));
const chosen = process.env.DRILLS === 'all' ? drills : drills.filter((_, i) => i % 3 === 0);

const ALLOWED = new Set(['created', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead']);

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  await daemon.terminate();
});
afterAll(() => daemon?.stop());

/** Walks a container through its whole life until the daemon is dead. */
function live(alive: () => boolean): void {
  const steps = [
    [
      'run',
      '-d',
      '--name',
      'steady',
      '-p',
      '8080:80',
      '--health-cmd',
      'true',
      '--health-interval',
      '1s',
      daemon.image,
      'sleep',
      '1000',
    ],
    ['pause', 'steady'],
    ['unpause', 'steady'],
    ['stop', '-t', '0', 'steady'],
    ['start', 'steady'],
    ['kill', 'steady'],
    ['run', '-d', '--name', 'crash', '--restart', 'on-failure:2', daemon.image, 'false'],
    ['wait', 'crash'],
    ['rm', '-f', 'steady', 'crash'],
  ];
  for (const step of steps) {
    if (!alive()) return;
    daemon.docker(...step);
  }
}

describe('a daemon killed at a transition of a container', () => {
  it('knows what to drill from the machine itself', () => {
    expect(states).toEqual(expect.arrayContaining(['created', 'exited', 'stopping']));
    expect(states.length).toBeGreaterThan(8);
  });

  it.each(chosen)(
    '$when the one to $state recovers: a state of the chart, commands work, nothing is left',
    async ({ state, when }) => {
      process.env.REACTORD_DRILL = `${when}:transition:container:${state}`;
      try {
        await daemon.restart();
      } finally {
        delete process.env.REACTORD_DRILL;
      }
      const pid = daemon.pid();
      const alive = (): boolean => existsSync(`/proc/${pid}/fd/0`);
      live(alive);
      await eventually(() => !alive(), { within: 10_000, what: `the drill at ${state}` });
      await daemon.restart();
      const list = await daemon.api<{ State: string; Names: string[] }[]>('GET', '/containers/json?all=1');
      expect(list.status).toBe(200);
      for (const { State } of list.json) expect(ALLOWED).toContain(State);
      // The caller of the interrupted command can repeat it.
      for (const { Names } of list.json) {
        const name = Names[0]!.slice(1);
        await eventually(
          () =>
            daemon.docker('start', name).code === 0 ||
            /paused|No such container/.test(daemon.docker('start', name).stderr),
        );
      }
      await expectNoLeaks(daemon);
      await daemon.terminate();
    },
  );
});

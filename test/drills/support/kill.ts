/** Kills a daemon at a chosen fact, starts it again, and asks what is true. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { expect } from 'vitest';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import type { TestDaemon } from '../../support/daemon.ts';
import { eventually } from '../../support/eventually.ts';
import { leaks } from '../../support/leak-check.ts';

export type When = 'before' | 'after';

/** A place in the life of an object where the daemon dies. */
export interface Point {
  when: When;
  topic: 'transition' | 'effect';
  kind: string;
  /** A state, or `<effect>/<begin|end|stop>`. */
  name: string;
}

export const textOf = ({ when, topic, kind, name }: Point): string => `${when}:${topic}:${kind}:${name}`;

const childrenOf = (node: AnyStateNode): AnyStateNode[] => Object.values(node.states as Record<string, AnyStateNode>);
const within = (node: AnyStateNode): AnyStateNode[] => [node, ...childrenOf(node).flatMap(within)];

/** It is left in the step that enters it: no fact tells of it. */
const isPassing = (node: AnyStateNode): boolean => node.always?.some(({ guard }) => guard === undefined) ?? false;

/** Effects by name: one whose end the chart has no use for goes on until its state is left. */
function effectsOf(root: AnyStateNode): Map<string, 'end' | 'stop'> {
  const found = new Map<string, 'end' | 'stop'>();
  for (const node of within(root))
    for (const { src, id } of node.invoke as { src: string; id: string }[])
      if (node.transitions.has(`xstate.done.actor.${id}`)) found.set(src, 'end');
      else if (!found.has(src)) found.set(src, 'stop');
  return found;
}

/** Every state and effect that the chart itself has, before and after it is durable. A new one is drilled without anybody adding it. */
export function pointsOf(kind: string, { root }: AnyStateMachine): (Point & { at: string })[] {
  const states = within(root)
    .filter((node) => childrenOf(node).length === 0 && !isPassing(node))
    .map(({ path }) => ({ topic: 'transition' as const, name: path.join('.') }));
  const effects = [...effectsOf(root)]
    .flatMap(([effect, end]) => [`${effect}/begin`, `${effect}/${end}`])
    .map((name) => ({ topic: 'effect' as const, name }));
  return [...states, ...effects].flatMap((point) =>
    (['before', 'after'] as const).map((when) => ({ when, kind, at: `${when} ${point.name}`, ...point })),
  );
}

interface Transition {
  type: string;
  data: { to: string };
}

/** Thrown by a walk when nobody answers any more. */
class Dead extends Error {}

export interface Walker {
  /** Any answer of the daemon is fine; none ends the walk. */
  call(method: string, path: string, body?: unknown): Promise<any>;
  /** The CLI; whatever it says is fine while the daemon lives. */
  docker(...args: string[]): Promise<void>;
  /** A CLI command whose client is killed as soon as it is so, and how that ends: the state its actor comes to. */
  leave(args: string[], when: (said: string) => boolean, ends: { kind: string; state: string }): Promise<void>;
  /** Looks until it is so, or the daemon is dead. */
  until(look: () => Promise<boolean>): Promise<void>;
}

/** Starts the daemon with the point armed and walks until it is dead; false when the walk ended before. */
export async function killAt(
  daemon: TestDaemon,
  point: string,
  walk: (walker: Walker) => Promise<void>,
): Promise<boolean> {
  process.env.REACTORD_DRILL = point;
  try {
    await daemon.restart();
  } catch (error) {
    // The point lies in the start itself.
    if (!/ended with SIGKILL/.test((error as Error).message)) throw error;
    return true;
  } finally {
    delete process.env.REACTORD_DRILL;
  }
  const pid = daemon.pid();
  const alive = (): boolean => existsSync(`/proc/${pid}/fd/0`);
  const trace: string[] = [];
  const call: Walker['call'] = async (method, path, body) => {
    try {
      const answer = await daemon.api(method, path, body);
      trace.push(`${method} ${path}: ${answer.status} ${answer.status < 400 ? '' : answer.text.trim()}`);
      return answer.text.startsWith('{') || answer.text.startsWith('[') ? answer.json : answer.text;
    } catch (error) {
      throw new Dead('no answer', { cause: error });
    }
  };
  const docker: Walker['docker'] = async (...args) => {
    const { code, stderr } = daemon.docker(...args);
    trace.push(`docker ${args.join(' ')}: ${code} ${stderr.trim()}`);
    if (code !== 0 && !alive()) throw new Dead('no answer');
  };
  const until: Walker['until'] = async (look) => {
    await eventually(async () => !alive() || (await look()), { within: 20_000, what: 'a step of the walk' });
  };
  const leave: Walker['leave'] = async (args, when, { kind, state }) => {
    const client = daemon.spawnDocker(...args);
    let said = '';
    for (const stream of [client.stdout!, client.stderr!])
      stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(async () => when(said));
    client.kill('SIGKILL');
    trace.push(`docker ${args.join(' ')}: left: ${said.trim()}`);
    await until(async () => {
      const facts = (await call('GET', '/reactord/facts?limit=2000&topics=transition')) as Transition[];
      return facts.some(({ type, data }) => type === kind && data.to === state);
    });
  };
  try {
    await walk({ call, docker, leave, until });
    await call('GET', '/_ping');
  } catch (error) {
    if (!(error instanceof Dead))
      throw new Error([(error as Error).message, ...trace.slice(-12)].join('\n'), { cause: error });
    await eventually(() => !alive(), { what: `the death at ${point}` });
  }
  if (alive()) await daemon.kill();
  else return true;
  return false;
}

interface Inspected {
  Id: string;
  Name: string;
  State: { Status: string; Running: boolean; Paused: boolean; Pid: number };
}

const ALLOWED = ['created', 'running', 'paused', 'restarting', 'exited', 'dead'];

/** What a daemon says of its containers is what the kernel says. */
export async function expectAgreement(daemon: TestDaemon): Promise<Inspected[]> {
  const { json: list } = await daemon.api<{ Id: string }[]>('GET', '/containers/json?all=1');
  const found: Inspected[] = [];
  for (const { Id } of list) {
    const seen = await eventually(
      async () => {
        const { status, json } = await daemon.api<Inspected>('GET', `/containers/${Id}/json`);
        if (status === 404) return 'gone' as const;
        const { Status, Pid, Running } = json.State;
        if (!ALLOWED.includes(Status)) return undefined;
        if (Running && Status !== 'restarting' ? existsSync(`/proc/${Pid}/fd/0`) : Pid === 0) return json;
        throw new Error(`${Status} with process ${Pid}`);
      },
      { what: `container ${Id} agrees with the kernel` },
    );
    if (seen !== 'gone') found.push(seen);
  }
  return found;
}

/** Removes every container; by then nothing of them may be known to the networks. */
export async function removeAll(daemon: TestDaemon): Promise<void> {
  await eventually(
    async () => {
      const { json } = await daemon.api<{ Id: string }[]>('GET', '/containers/json?all=1');
      const answers = await Promise.all(json.map(({ Id }) => daemon.api('DELETE', `/containers/${Id}?force=1&v=1`)));
      for (const { status, text } of answers) if (![204, 404, 409].includes(status)) throw new Error(text);
      return json.length === 0;
    },
    { within: 30_000, what: 'all containers are removed' },
  );
  const { json } = await daemon.api<{ Containers: object }>('GET', '/networks/bridge');
  expect(json.Containers).toEqual({});
}

/** A stopped daemon without containers has left nothing, and what its image store has is whole. */
export async function expectNothingLeft(daemon: TestDaemon): Promise<void> {
  await removeAll(daemon);
  expect(await daemon.terminate()).toBe(0);
  let found: string[] = [];
  await eventually(() => (found = leaks(daemon)).length === 0).catch(() => expect(found).toEqual([]));
  const checked = spawnSync('bin/reactord', ['fsck', daemon.dataRoot], { encoding: 'utf8', timeout: 60_000 });
  expect(checked.stdout + checked.stderr).toContain('clean');
}

import { afterEach, expect, test } from 'vitest';
import { DaemonError } from '../../src/errors.ts';
import { containerWorld } from '../support/container-world.ts';
import { eventually } from '../support/eventually.ts';

let world: Awaited<ReturnType<typeof containerWorld>>;
afterEach(() => world.dispose());

const gone = new AbortController().signal;

test('a run gives its events in dockerd’s order, and inspect follows each step', async () => {
  world = await containerWorld();
  const { id } = await world.create({}, 'web');
  expect(await world.inspect('web')).toMatchObject({ Name: '/web', State: { Status: 'created', Running: false } });
  const ended = world.containers.wait(id, 'next-exit', gone);
  await world.containers.start(id);
  expect((await world.inspect(id)).State).toMatchObject({ Status: 'running', Running: true, ExitCode: 0 });
  world.runtime.exit(id, 3);
  expect(await ended).toEqual({ StatusCode: 3 });
  await eventually(() => world.state(id) === 'exited.settled');
  expect((await world.inspect(id)).State).toMatchObject({ Status: 'exited', ExitCode: 3, Pid: 0 });
  await world.containers.remove(id, { force: false, volumes: false });
  expect(world.events()).toEqual([
    'container create',
    'network connect',
    'container start',
    'container die',
    'network disconnect',
    'container destroy',
  ]);
  expect(world.record(id)).toBeUndefined();
  expect(world.deps.reactor.get('container', id)).toBeUndefined();
});

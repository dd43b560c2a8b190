import { afterAll, beforeAll, expect, test } from 'vitest';
import { containerHost } from '../support/container-host.ts';
import { eventually } from '../support/eventually.ts';

let host: Awaited<ReturnType<typeof containerHost>>;
beforeAll(async () => {
  host = await containerHost();
});
afterAll(() => host?.dispose());

const gone = new AbortController().signal;

/** Creates, starts, waits for the end. */
async function run(body: Parameters<typeof host.create>[0]): Promise<{ id: string; code: number }> {
  const { id } = await host.create(body);
  const ended = host.containers.wait(id, 'next-exit', gone);
  await host.containers.start(id);
  return { id, code: (await ended).StatusCode };
}

test('a container runs, its output is logged, its exit code is kept', async () => {
  const { id, code } = await run({ Cmd: ['sh', '-c', 'echo out; echo err >&2; id -u; exit 7'] });
  expect(code).toBe(7);
  await eventually(() => host.state(id) === 'exited.settled');
  const text = await host.logged(id);
  expect(text.split('\n').sort()).toEqual(['', '0', 'err', 'out'].sort());
  await host.containers.remove(id, { force: false, volumes: false });
});

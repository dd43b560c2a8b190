/**
 * `node bench/watch.ts [--containers 200] [--seconds 30]`: what watching costs. Containers are restarted round and round, first with the page
 * closed, then with the page open in Chromium; prints the CPU time of the daemon and of `reactord ui` in each. Then what inspection adds to a transition.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { createActor, createMachine } from 'xstate';
import { startDaemon, type TestDaemon } from '../test/support/daemon.ts';
import { testDeps } from '../test/support/deps.ts';

const { values } = parseArgs({
  options: { containers: { type: 'string', default: '200' }, seconds: { type: 'string', default: '30' } },
});
const count = Number(values.containers);
const seconds = Number(values.seconds);
const TICKS = 100;
const AT_ONCE = 4;

/** CPU seconds of a process so far. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

interface Span {
  restarts: number;
  facts: number;
  daemon: number;
  ui: number;
  elapsed: number;
}

async function churn(daemon: TestDaemon, ids: string[], ui: number | undefined): Promise<Span> {
  const lastSeq = async (): Promise<number> =>
    (await daemon.api<{ seq: number }[]>('GET', '/reactord/facts?limit=1')).json[0]!.seq;
  const [seq, before, uiBefore, start] = [await lastSeq(), cpu(daemon.pid()), ui ? cpu(ui) : 0, Date.now()];
  let restarts = 0;
  const worker = async (offset: number): Promise<void> => {
    for (let i = offset; Date.now() - start < seconds * 1000; i += AT_ONCE, restarts++)
      await daemon.api('POST', `/containers/${ids[i % ids.length]!}/restart?t=0`);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => worker(i)));
  return {
    restarts,
    daemon: cpu(daemon.pid()) - before,
    ui: ui ? cpu(ui) - uiBefore : 0,
    elapsed: (Date.now() - start) / 1000,
    facts: (await lastSeq()) - seq,
  };
}

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} % of a core`;

function tell(name: string, span: Span): void {
  const { restarts, facts, daemon, ui, elapsed } = span;
  console.log(
    `${name}: ${restarts} restarts and ${facts} facts in ${elapsed.toFixed(1)} s; daemon ${percent(daemon, elapsed)}` +
      ` (${((1000 * daemon) / restarts).toFixed(2)} ms a restart), ui ${percent(ui, elapsed)}`,
  );
}

async function startUi(daemon: TestDaemon): Promise<{ child: ChildProcess; url: string }> {
  const program = join(import.meta.dirname, '../bin/reactord');
  const child = spawn(program, ['ui', '-H', `unix://${daemon.socket}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout! })) return { child, url: line };
  throw new Error('reactord ui did not start');
}

/** Microseconds of one transition, with the reactor's inspection and without any. */
function inspection(): { with: number; without: number } {
  const machine = createMachine({
    id: 'light',
    initial: 'on',
    states: { on: { on: { FLIP: 'off' } }, off: { on: { FLIP: 'on' } } },
  });
  const measure = (send: () => void): number => {
    for (let i = 0; i < 20_000; i++) send();
    const start = process.hrtime.bigint();
    for (let i = 0; i < 50_000; i++) send();
    return Number(process.hrtime.bigint() - start) / 1000 / 50_000;
  };
  const plain = createActor(machine).start();
  const without = measure(() => plain.send({ type: 'FLIP' }));
  // The facts themselves belong to the journal; here they are published and nobody takes them.
  const deps = testDeps();
  const watched = deps.reactor.spawn('light', 'a', machine, { input: undefined });
  return { without, with: measure(() => watched.send({ type: 'FLIP' })) };
}

const daemon = await startDaemon();
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
let ui: ChildProcess | undefined;
try {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const body = { Image: daemon.image, Cmd: ['sleep', '100000'], HostConfig: { NetworkMode: 'none' } };
    const { json } = await daemon.api<{ Id: string }>('POST', '/containers/create', body);
    await daemon.api('POST', `/containers/${json.Id}/start`);
    ids.push(json.Id);
  }
  const { child, url } = await startUi(daemon);
  ui = child;
  const page = await browser.newPage();
  const closed = await churn(daemon, ids, child.pid);
  tell('page closed', closed);
  await page.goto(url);
  await page.locator('#tree [role=treeitem]').first().click();
  const open = await churn(daemon, ids, child.pid);
  tell('page open', open);
  console.log(`status line: ${await page.locator('#status').innerText()}`);
  const extra = open.daemon - (closed.daemon / closed.restarts) * open.restarts;
  console.log(`watching costs the daemon ${percent(extra, open.elapsed)}, and ui ${percent(open.ui, open.elapsed)}`);
  const { with: watched, without } = inspection();
  console.log(`a transition: ${without.toFixed(1)} µs bare, ${watched.toFixed(1)} µs inspected and published`);
} finally {
  ui?.kill();
  await browser.close();
  await daemon.stop();
}
process.exit(0);

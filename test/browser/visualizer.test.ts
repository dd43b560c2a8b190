import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveUi, type UiServer } from '../../src/commands/ui.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { flood } from '../support/flood.ts';

const OUTPUT = join(import.meta.dirname, '../output');
const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let daemon: TestDaemon;
let browser: Browser;
let ui: UiServer;
let page: Page;
let exec: ChildProcess;
const problems: string[] = [];

beforeAll(async () => {
  mkdirSync(OUTPUT, { recursive: true });
  daemon = await startDaemon();
  daemon.ok('run', '-d', '--name', 'steady', '--network', 'none', daemon.image, 'sleep', '1000');
  daemon.ok(
    'run',
    '-d',
    '--name',
    'crashing',
    '--network',
    'none',
    '--restart',
    'always',
    daemon.image,
    'sh',
    '-c',
    'sleep 0.2; exit 3',
  );
  daemon.ok(
    'run',
    '-d',
    '--name',
    'shop-web-1',
    '--network',
    'none',
    '--label',
    'com.docker.compose.project=shop',
    '-e',
    'PASSWORD=hunter2',
    daemon.image,
    'sleep',
    '1000',
  );
  const check = ['--health-cmd', 'exit 1', '--health-interval', '200ms', '--health-retries', '1'];
  daemon.ok('run', '-d', '--name', 'sick', '--network', 'none', ...check, daemon.image, 'sleep', '1000');
  const stays = 'trap "" TERM; while :; do sleep 1; done';
  daemon.ok('run', '-d', '--name', 'stubborn', '--network', 'none', daemon.image, 'sh', '-c', stays);
  exec = daemon.spawnDocker('exec', 'steady', 'sh', '-c', 'PASSWORD=hunter2 sleep 1000');
  ui = await serveUi(daemon.socket, 0);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(ui.url);
});

afterAll(async () => {
  exec?.kill('SIGKILL');
  await browser?.close();
  ui?.close();
  await daemon?.stop();
});

const row = (name: string) => page.locator('#tree [role=treeitem]', { hasText: name });
const choose = async (name: string): Promise<void> => row(name).first().click();

describe('the page', () => {
  it('shows a live tree of actors, Compose projects grouped', async () => {
    await row('steady').first().waitFor();
    await page.locator('.group', { hasText: 'shop' }).waitFor();
    await page.locator('#status', { hasText: 'live' }).waitFor();
    // The reactor itself is one of them.
    await page.locator('[role=group][aria-label^="reactor"] [role=treeitem]', { hasText: 'serving' }).waitFor();
  });

  it('colours states, and finds actors by what is typed', async () => {
    const colour = (name: string, tone: string) => row(name).first().locator(`.dot.${tone}`).waitFor();
    await colour('steady', 'good');
    await colour('sick', 'bad');
    await page.keyboard.press('/');
    await page.keyboard.type('SHOP');
    await row('steady').first().waitFor({ state: 'detached' });
    await row('shop-web-1').first().waitFor();
    await page.locator('#search').fill('');
    await page.keyboard.press('Escape');
    await row('steady').first().waitFor();
    expect(await page.evaluate('document.activeElement.id')).not.toBe('search');
  });

  it('shows an exec by its container and its command, without what is secret in it', async () => {
    await row('steady: sh -c PASSWORD=… sleep 1000').waitFor();
  });

  it('draws the running machine’s chart with the current state lit', async () => {
    await choose('steady');
    await page.locator('#view [data-on=true]', { hasText: 'running' }).first().waitFor();
    expect(await page.locator('#view [data-state$=".restarting"]').count()).toBe(1);
    await page.screenshot({ path: join(OUTPUT, 'chart-light.png') });
  });

  it('follows a live transition', async () => {
    await choose('steady');
    daemon.ok('pause', 'steady');
    await page.locator('#view [data-on=true][data-state$=".paused"]').waitFor();
    // The edge just taken is the one that moves.
    await page.locator('#view .edge.last[data-target$=".paused"]').waitFor();
    daemon.ok('unpause', 'steady');
    await page.locator('#view [data-on=true][data-state$=".up"]').waitFor();
    // Visits are counted on the chart: up once at the start and once now.
    await page.locator('#view [data-state$=".up"]', { hasText: '2× ·' }).waitFor();
  });

  it('folds what is far from the current state, and unfolds it by keyboard', async () => {
    await page.locator('#view [data-state$=".starting"]', { hasText: 'states inside' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#view [data-state$=".preparing"]').waitFor();
    await page.getByRole('button', { name: 'Open all' }).click();
    await page.locator('#view [data-state$=".restarting.waiting"]').waitFor();
    await page.screenshot({ path: join(OUTPUT, 'chart-whole.png') });
    // In one turn of the page: a redraw replaces the drawing.
    const size = (): Promise<number> =>
      page.evaluate<number>(`document.querySelector('#view svg').getBoundingClientRect().width`);
    const before = await size();
    await page.keyboard.press('+');
    expect(await size()).toBeGreaterThan(before);
    await page.keyboard.press('0');
    await page.getByRole('button', { name: 'Fold' }).click();
    await page.locator('#view [data-state$=".starting"]', { hasText: 'states inside' }).waitFor();
  });

  it('tells why it is there, from the API request on', async () => {
    await choose('steady');
    const chain = page.locator('#chain');
    await eventually(async () => (await chain.innerText()).includes('API POST'));
    expect(await chain.innerText()).toMatch(/→(.|\n)*API POST .*204/);
    const commands = page.locator('#detail .commands');
    expect(await commands.innerText()).toContain('PAUSE');
    expect(await commands.innerText()).not.toContain('EXIT');
  });

  it('finds a flapping container by itself, and leads there from every view', async () => {
    await eventually(async () => (await row('crashing').first().innerText()).includes('flapping'), { within: 30_000 });
    await page.getByRole('button', { name: 'crashing is flapping' }).click();
    await page.locator('#detail .warning', { hasText: 'restarted at least three times' }).waitFor();
    const chain = page.locator('#chain');
    // The loop since the one request, with the exit code of its last end.
    await eventually(async () => /API POST .*start\s+.* more(.|\n)*exitCode=3/.test(await chain.innerText()));
    await page.screenshot({ path: join(OUTPUT, 'crash-loop.png') });
  });

  it('shows what it is waiting for: a timer by its countdown, and how long it is there', async () => {
    const stopping = daemon.spawnDocker('stop', '-t', '600', 'stubborn');
    await choose('stubborn');
    const timer = page.locator('#detail .waits li', { hasText: 'after grace' });
    const left = async (): Promise<number> => {
      const [, minutes, seconds] = /in (\d+) min (\d+) s/.exec(await timer.innerText()) ?? [];
      return Number(minutes) * 60 + Number(seconds);
    };
    const first = await eventually(left);
    await eventually(async () => (await left()) < first, { what: 'the countdown' });
    const age = page.locator('#detail dt:text-is("For") + dd');
    expect(await age.innerText()).toMatch(/^\d.* m?s$/);
    await page.locator('#detail .commands', { hasText: 'KILL' }).waitFor();
    daemon.ok('kill', 'stubborn');
    await page.locator('#view [data-on=true][data-state$=".exited"]').waitFor();
    stopping.kill('SIGKILL');
  });

  it('goes from a fact of the chain to its moment, with the effect that ran then, its age and its deadline', async () => {
    await choose('sick');
    await page.locator('#chain button', { hasText: /starting.preparing → starting.creating/ }).click();
    await page.locator('#view [data-on=true][data-state$=".creating"]').waitFor();
    const effect = page.locator('#detail .waits li', { hasText: 'create' });
    expect(await effect.innerText()).toMatch(/create\n.*ms of 1 min 15 s/);
    await effect.locator('progress[max="75000"]').waitFor();
    // One move on, one back, and to now.
    await page.keyboard.press(']');
    await page.locator('#view [data-on=true][data-state$=".launching"]').waitFor();
    await page.keyboard.press('[');
    await page.locator('#view [data-on=true][data-state$=".creating"]').waitFor();
    await page.screenshot({ path: join(OUTPUT, 'past.png') });
    await page.keyboard.press('l');
    await page.locator('#view [data-on=true][data-state$=".unhealthy"]').waitFor();
  });

  it('never shows an environment variable', async () => {
    await choose('shop-web-1');
    expect(await page.content()).not.toContain('hunter2');
    const feed = await daemon.api('GET', '/reactord/facts?limit=10000');
    expect(feed.text).not.toContain('hunter2');
  });

  it('draws a build as a graph that says what was cached and why a step was not', async () => {
    const directory = join(daemon.directory, 'build');
    mkdirSync(directory);
    const build = (second: string): void => {
      const text = `FROM ${daemon.image} AS base\nRUN echo one > /one\nRUN echo ${second} > /two\nFROM ${daemon.image}\nCOPY --from=base /two /\n`;
      writeFileSync(join(directory, 'Dockerfile'), text);
      daemon.dockerWith({ env: { DOCKER_BUILDKIT: '0' } }, 'build', '--network', 'none', directory);
    };
    build('two');
    build('three');
    await page.getByRole('tab', { name: 'Builds' }).click();
    const newest = page.locator('#view .build').first();
    await newest.locator('g[aria-label*="echo one"][aria-label$="cached"]').waitFor();
    expect(await newest.locator('g[aria-label*="echo three"]').getAttribute('aria-label')).not.toContain('cached');
    await page.screenshot({ path: join(OUTPUT, 'builds.png') });
  });

  it('draws swimlanes, the sequence and the journal', async () => {
    for (const [key, view, selector] of [
      // Its checks fail: its lane is red.
      ['2', 'Lanes', 'svg[aria-label*="containers over time"] g[aria-label^="sick"] rect.bad'],
      ['3', 'Sequence', 'svg[aria-label^="sequence"] .message.transition'],
      ['5', 'Journal', 'table[aria-label^="journal"]'],
    ] as const) {
      await page.keyboard.press(key);
      await page.getByRole('tab', { name: view, selected: true }).waitFor();
      await page.locator(`#view ${selector}`).first().waitFor();
      await page.screenshot({ path: join(OUTPUT, `${view.toLowerCase()}.png`) });
    }
    await page.getByRole('tab', { name: 'Chart' }).click();
  });

  it('is used by keyboard: arrows choose in the tree, and every control has a name', async () => {
    await choose('steady');
    await page.keyboard.press('ArrowDown');
    const next = page.locator('#tree [aria-selected=true]');
    await eventually(async () => (await next.innerText()).includes('stubborn'));
    expect(await page.evaluate('document.activeElement.dataset.key')).toBe(await next.getAttribute('data-key'));
    const nameless = await page.evaluate(`[...document.querySelectorAll(
      'button, input, select, a, [role=button], [role=treeitem], [role=tab], [role=img], [role=group], [role=tree], progress, svg:not([aria-hidden])',
    )].filter((element) => !(
      element.getAttribute('aria-label') || element.closest('label')?.textContent.trim() ||
      element.textContent.trim() || element.title
    )).map((element) => element.outerHTML.slice(0, 200))`);
    expect(nameless).toEqual([]);
  });

  it('says that its feed is sampled when more comes than can be shown', async () => {
    const paths = Array.from({ length: 3000 }, (_, i) => `/containers/nobody${i % 50}/start`);
    expect(new Set(await flood(daemon.socket, 'POST', paths))).toEqual(new Set([404]));
    await page.locator('#status', { hasText: /sampled: \d+ facts left out under load/ }).waitFor();
    // What was not left out goes on.
    daemon.ok('pause', 'steady');
    await choose('steady');
    await page.locator('#view [data-on=true][data-state$=".paused"]').waitFor();
    daemon.ok('unpause', 'steady');
    await page.locator('#view [data-on=true][data-state$=".up"]').waitFor();
  });

  it('travels back through the journal and returns to now', async () => {
    await choose('steady');
    await page.locator('#time').fill('0');
    await eventually(async () => (await page.locator('#moment').innerText()) !== 'live');
    await eventually(async () => (await row('steady').first().innerText()).includes('not there yet'));
    await page.locator('#live').click();
    await eventually(async () => (await row('steady').first().innerText()).includes('running'));
  });

  it('exports a file that opens offline', async () => {
    const download = page.waitForEvent('download');
    await page.locator('#export').click();
    const path = join(OUTPUT, 'export.json');
    await (await download).saveAs(path);
    const file = JSON.parse(readFileSync(path, 'utf8')) as {
      exportedAt: number;
      actors: { name: string; effects: object[] }[];
      facts: { timeNano: string }[];
    };
    expect(JSON.stringify(file)).not.toContain('hunter2');
    // One of them hung when it was written: that is found in the file as well.
    const now = Number(file.facts.at(-1)!.timeNano.slice(0, -6));
    file.actors
      .find(({ name }) => name === 'shop-web-1')!
      .effects.push({ name: 'settle', startedAt: now - 90_000, limit: 80_000 });
    writeFileSync(path, JSON.stringify(file));
    const second = await browser.newPage();
    // Without the daemon: every read fails, and what is shown comes from the file.
    await second.route('**/api/**', (route) => route.abort());
    const other = await serveUi(daemon.socket, 0);
    try {
      await second.goto(other.url);
      await second.locator('#open').setInputFiles(path);
      await second.locator('#tree [role=treeitem]', { hasText: 'steady' }).first().click();
      await second.locator('#view [data-on=true]', { hasText: 'running' }).first().waitFor();
      expect(await second.locator('#status').innerText()).toContain('an exported file');
      await second.locator('#chain', { hasText: 'API POST' }).waitFor();
      await second.getByRole('button', { name: 'shop-web-1 is stuck' }).click();
      await second.locator('#detail .waits .late', { hasText: /settle1 min 30 s of 1 min 20 s.*it is late/ }).waitFor();
    } finally {
      await second.close();
      other.close();
    }
  });

  it('is dark or light, by key, and fits a narrow screen', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.screenshot({ path: join(OUTPUT, 'chart-dark.png') });
    for (const view of ['Lanes', 'Sequence', 'Chart']) {
      await page.getByRole('tab', { name: view }).click();
      await page.getByRole('tab', { name: view, selected: true }).waitFor();
      if (view !== 'Chart') await page.screenshot({ path: join(OUTPUT, `${view.toLowerCase()}-dark.png`) });
    }
    const dark = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    await page.keyboard.press('t');
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).not.toBe(dark);
    await page.setViewportSize({ width: 480, height: 800 });
    expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
    await page.screenshot({ path: join(OUTPUT, 'narrow.png') });
    await page.setViewportSize({ width: 2200, height: 1200 });
    expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
    await page.screenshot({ path: join(OUTPUT, 'wide.png') });
    await page.setViewportSize({ width: 1400, height: 900 });
  });

  it('had no error in all of that', () => expect(problems).toEqual([]));
});

describe('the page’s server', () => {
  it('takes its token once, and refuses others, writes and what is no read', async () => {
    const origin = new URL(ui.url).origin;
    expect((await fetch(ui.url, { redirect: 'manual' })).status).toBe(403);
    expect((await fetch(origin)).status).toBe(403);
    expect((await fetch(`${origin}/api/containers/json`, { method: 'POST' })).status).toBe(405);
    expect(await page.evaluate(`fetch('/api/containers/steady/json').then((answer) => answer.status)`)).toBe(403);
    expect(await page.evaluate(`fetch('/api/version').then((answer) => answer.status)`)).toBe(200);
  });
});

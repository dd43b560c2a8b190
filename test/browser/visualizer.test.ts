import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveUi, type UiServer } from '../../src/commands/ui.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

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
    'exit 3',
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
  ui = await serveUi(daemon.socket, 0);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(ui.url);
});

afterAll(async () => {
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
    const size = async (): Promise<number> => (await page.locator('#view svg').boundingBox())!.width;
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

  it('finds a flapping container by itself', async () => {
    await eventually(async () => (await row('crashing').first().innerText()).includes('flapping'), { within: 30_000 });
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
    for (const [view, selector] of [
      ['Lanes', 'svg[aria-label*="containers over time"]'],
      ['Sequence', 'svg[aria-label^="sequence"] .message.transition'],
      ['Journal', 'table[aria-label^="journal"]'],
    ] as const) {
      await page.getByRole('tab', { name: view }).click();
      await page.locator(`#view ${selector}`).first().waitFor();
      await page.screenshot({ path: join(OUTPUT, `${view.toLowerCase()}.png`) });
    }
    await page.getByRole('tab', { name: 'Chart' }).click();
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
    } finally {
      await second.close();
      other.close();
    }
  });

  it('is dark or light, by key, and fits a narrow screen', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.screenshot({ path: join(OUTPUT, 'chart-dark.png') });
    const dark = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    await page.keyboard.press('t');
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).not.toBe(dark);
    await page.setViewportSize({ width: 480, height: 800 });
    expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
    await page.screenshot({ path: join(OUTPUT, 'narrow.png') });
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

/**
 * `reactord monitor`: a live table in a terminal; elsewhere one line (or with --json one object) for each fact.
 * Keys: s sort, / filter, ↑ ↓ choose, l its logs, c its chart, e why it is there, Esc back, q quit.
 */
import { emitKeypressEvents, type Key } from 'node:readline';
import { parseArgs } from 'node:util';
import { outputLines } from '../monitor/logs.ts';
import { MonitorSource } from '../monitor/source.ts';
import { filtered, type MonitorRow, monitorTable, SORT_KEYS, sorted } from '../monitor/table.ts';
import { factText, timeOf, type WireFact } from '../visualizer/explain.ts';
import { tree } from '../visualizer/mermaid.ts';
import type { Chart } from '../visualizer/view.ts';
import { DaemonClient, socketOf } from './client.ts';
import { explanation } from './explain.ts';

const REFRESH_MS = 1000;
const LOG_LINES = 500;
const SCREEN = {
  enter: '\x1b[?1049h\x1b[?25l',
  leave: '\x1b[?25h\x1b[?1049l',
  home: '\x1b[H',
  clearLine: '\x1b[K',
  clearDown: '\x1b[J',
};
const invert = (text: string): string => `\x1b[7m${text}\x1b[27m`;
const dim = (text: string): string => `\x1b[2m${text}\x1b[22m`;

export async function monitor(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      host: { type: 'string', short: 'H' },
      json: { type: 'boolean', default: false },
      once: { type: 'boolean', default: false },
    },
  });
  const client = new DaemonClient(socketOf(values.host));
  if (values.once) return printOnce(client, values.json);
  return process.stdout.isTTY && !values.json ? new Screen(client).run() : follow(client, values.json);
}

async function printOnce(client: DaemonClient, json: boolean): Promise<number> {
  const source = new MonitorSource(client);
  // What a container uses of the processor is seen from two samples.
  await source.read();
  await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  const rows = await source.read();
  const lines = json ? rows.map((row) => JSON.stringify(row)) : monitorTable(sorted(rows, 'name'), Date.now(), 200);
  process.stdout.write(`${lines.join('\n')}\n`);
  return 0;
}

async function follow(client: DaemonClient, json: boolean): Promise<number> {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  process.once('SIGTERM', () => stop.abort());
  process.stdout.on('error', () => stop.abort());
  for await (const fact of client.lines<WireFact & { skipped?: number; connected?: boolean }>(
    '/reactord/feed?whole=1',
    stop.signal,
  )) {
    if (fact.connected) continue;
    if (json) process.stdout.write(`${JSON.stringify(fact)}\n`);
    else if (fact.skipped) process.stdout.write(`(${fact.skipped} facts were too fast for this reader)\n`);
    else
      process.stdout.write(
        `${new Date(timeOf(fact)).toISOString()} ${fact.type} ${fact.id.slice(0, 12)} ${factText(fact)}\n`,
      );
  }
  return 0;
}

/** The part of a page that fits, with the last marked line (a current state) in it. */
function aroundMark(page: string[], height: number): string[] {
  const found = page.findLastIndex((line) => line.includes('●'));
  // Without one, the end is what is new.
  const marked = found < 0 ? page.length : found;
  const start = Math.max(0, Math.min(marked - Math.floor(height / 2), page.length - height));
  return page.slice(start, start + height);
}

/** The table in a terminal. Redraws once a second and on keys. */
class Screen {
  #client: DaemonClient;
  #source: MonitorSource;
  #rows: MonitorRow[] = [];
  #sort = 0;
  #filter = '';
  #typing = false;
  #chosen = 0;
  /** A page over the table: a chart or an explanation. */
  #page: string[] | undefined;
  #error = '';
  #done!: (code: number) => void;

  constructor(client: DaemonClient) {
    this.#client = client;
    this.#source = new MonitorSource(client);
  }

  async run(): Promise<number> {
    emitKeypressEvents(process.stdin);
    process.stdin.setRawMode?.(true);
    process.stdin.resume();
    process.stdout.write(SCREEN.enter);
    const ended = new Promise<number>((resolve) => (this.#done = resolve));
    process.stdin.on('keypress', (text: string | undefined, key: Key) => void this.#key(text, key));
    process.stdout.on('resize', () => this.#draw());
    process.once('SIGTERM', () => this.#done(0));
    await this.#refresh();
    const timer = setInterval(() => void this.#refresh(), REFRESH_MS);
    const code = await ended;
    clearInterval(timer);
    process.stdout.write(SCREEN.leave);
    process.stdin.setRawMode?.(false);
    process.stdin.pause();
    return code;
  }

  async #refresh(): Promise<void> {
    try {
      this.#rows = await this.#source.read();
      this.#error = '';
    } catch (error) {
      this.#error = (error as Error).message;
    }
    this.#draw();
  }

  #visible(): MonitorRow[] {
    return sorted(filtered(this.#rows, this.#filter), SORT_KEYS[this.#sort]!);
  }

  async #key(text: string | undefined, key: Key): Promise<void> {
    if (key.ctrl && key.name === 'c') return this.#done(0);
    if (this.#typing) this.#type(text, key);
    else if (key.name === 'q') return this.#done(0);
    else if (key.name === 'escape') this.#page = undefined;
    else if (key.name === 's') this.#sort = (this.#sort + 1) % SORT_KEYS.length;
    else if (text === '/') this.#typing = true;
    else if (key.name === 'down') this.#chosen++;
    else if (key.name === 'up') this.#chosen = Math.max(0, this.#chosen - 1);
    else if (key.name === 'c' || key.name === 'e' || key.name === 'l') await this.#open(key.name);
    this.#draw();
  }

  #type(text: string | undefined, key: Key): void {
    if (key.name === 'return' || key.name === 'escape') {
      this.#typing = false;
      if (key.name === 'escape') this.#filter = '';
    } else if (key.name === 'backspace') this.#filter = this.#filter.slice(0, -1);
    else if (text && !key.ctrl) this.#filter += text;
  }

  async #open(what: 'c' | 'e' | 'l'): Promise<void> {
    const row = this.#visible()[this.#chosen];
    if (!row) return;
    const path = `/reactord/actors/container/${row.id}`;
    try {
      if (what === 'l') {
        const tail = `/containers/${row.id}/logs?stdout=1&stderr=1&tail=${LOG_LINES}`;
        const lines = outputLines(await this.#client.bytes(tail));
        this.#page = lines.length ? lines : ['(no output)'];
      } else if (what === 'c') {
        const chart = await this.#client.get<Chart & { active: string[] }>(`${path}/chart`);
        this.#page = tree(chart, chart.active).split('\n');
      } else this.#page = (await explanation(this.#client, path)).split('\n');
    } catch (error) {
      this.#error = (error as Error).message;
    }
  }

  #draw(): void {
    const { columns = 120, rows: height = 40 } = process.stdout;
    const visible = this.#visible();
    this.#chosen = Math.min(this.#chosen, Math.max(0, visible.length - 1));
    const table = monitorTable(visible, Date.now(), columns).map((line, i) =>
      i === this.#chosen + 1 ? invert(line) : line,
    );
    const status = this.#typing ? `filter: ${this.#filter}▏` : this.#filter ? `filter ${this.#filter}` : '';
    const head = `reactord monitor  ${visible.length} containers  sorted by ${SORT_KEYS[this.#sort]}  ${status}`;
    const foot = this.#error || 's sort  / filter  ↑↓ choose  l logs  c chart  e explain  Esc back  q quit';
    const body = this.#page
      ? aroundMark(this.#page, height - 3).map((line) => line.slice(0, columns))
      : table.slice(0, height - 3);
    const lines = [head.slice(0, columns), ...body, '', dim(foot.slice(0, columns))];
    process.stdout.write(SCREEN.home + lines.map((line) => line + SCREEN.clearLine).join('\r\n') + SCREEN.clearDown);
  }
}

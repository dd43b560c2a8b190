/// <reference lib="dom" />
/** The page: wires the model to the views, the keyboard and the controls. */
import { drawChart } from './chart-view.ts';
import { $, clock, h } from './dom.ts';
import { Model, type PageActor, type Snapshot, timeOf } from './model.ts';
import { drawDetail, drawJournal, drawLanes, drawSequence, drawTree } from './views.ts';

const VIEWS = ['Chart', 'Lanes', 'Sequence', 'Journal'] as const;
let view: (typeof VIEWS)[number] = 'Chart';
const model = new Model(render);

const chosen = (): PageActor | undefined => (model.chosen ? model.actors.get(model.chosen) : undefined);

function choose(key: string): void {
  model.chosen = key;
  render();
}

function render(): void {
  const search = $<HTMLInputElement>('search').value;
  const focused = (document.activeElement as HTMLElement | null)?.dataset?.key;
  $('tree').replaceChildren(...drawTree(model, search, choose));
  if (focused) document.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  $('detail').replaceChildren(...drawDetail(model, chosen()));
  $('tabs').replaceChildren(...VIEWS.map(tab));
  renderStatus();
  void renderView();
}

function tab(name: (typeof VIEWS)[number]): HTMLElement {
  const select = (): void => {
    view = name;
    render();
  };
  return h('button', { type: 'button', role: 'tab', 'aria-selected': String(view === name), click: select }, name);
}

function renderStatus(): void {
  const running = [...model.actors.values()].filter(
    (actor) => actor.kind === 'container' && actor.state.startsWith('running'),
  ).length;
  const source = model.offline ? 'an exported file' : model.connected ? 'live' : 'not connected';
  const lost = model.dropped ? `, ${model.dropped} facts skipped under load` : '';
  $('status').textContent = `${source}: ${model.actors.size} actors, ${running} containers running${lost}`;
  $('moment').textContent = model.moment === undefined ? 'live' : clock(model.moment);
}

let drawing = 0;

async function renderView(): Promise<void> {
  const turn = ++drawing;
  const drawn = await drawView();
  // A later render overtook this one while the layout was computed.
  if (turn !== drawing) return;
  $('view').replaceChildren(drawn);
  showCurrent();
}

let shown = '';

/** Brings the current states into sight, once for each actor and state: who scrolls on is not pulled back. */
function showCurrent(): void {
  const actor = chosen();
  const what = actor && view === 'Chart' ? `${model.chosen} ${model.stateOf(actor)}` : '';
  if (what && what !== shown)
    [...document.querySelectorAll('#view [data-on=true]')]
      .at(-1)
      ?.scrollIntoView({ block: 'center', inline: 'center' });
  shown = what;
}

async function drawView(): Promise<Element> {
  const actor = chosen();
  if (view === 'Lanes') return drawLanes(model);
  if (view === 'Sequence') return drawSequence(model);
  if (view === 'Journal') return drawJournal(model, actor);
  if (!actor) return drawLanes(model);
  const chart = await model.chart(actor);
  if (!chart) return h('p', { class: 'empty' }, 'This actor has no statechart to draw.');
  const moved = model.until().findLast((fact) => fact.id === actor.id && fact.topic === 'transition');
  const last = moved ? { from: String(moved.data?.from ?? ''), to: String(moved.data?.to ?? '') } : undefined;
  return drawChart(chart, model.stateOf(actor), last);
}

function travel(position: number): void {
  const [first, last] = [model.facts[0], model.facts.at(-1)];
  if (!first || !last || position >= 1000) model.moment = undefined;
  else model.moment = timeOf(first) + ((timeOf(last) - timeOf(first)) * position) / 1000;
  render();
}

async function exportFile(): Promise<void> {
  const blob = new Blob([JSON.stringify(await model.export())], { type: 'application/json' });
  const link = h('a', {
    href: URL.createObjectURL(blob),
    download: `reactord-${new Date().toISOString().slice(0, 19)}.json`,
  });
  link.click();
}

async function openFile(input: HTMLInputElement): Promise<void> {
  const file = input.files?.[0];
  if (file) model.open(JSON.parse(await file.text()) as Snapshot);
}

function toggleTheme(): void {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
}

function onKey(event: KeyboardEvent): void {
  const typing = event.target instanceof HTMLInputElement && event.target.type === 'search';
  if (event.key === 'Escape' && typing) (event.target as HTMLInputElement).blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const position = Number(event.key) - 1;
  if (event.key === '/') {
    event.preventDefault();
    $('search').focus();
  } else if (event.key === 't') toggleTheme();
  else if (VIEWS[position]) {
    view = VIEWS[position];
    render();
  } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') step(event.key === 'ArrowDown' ? 1 : -1);
}

/** Moves the choice in the tree. */
function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('[data-key]')];
  const at = rows.findIndex((row) => row.dataset.key === model.chosen);
  const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
  if (next?.dataset.key) choose(next.dataset.key);
}

$('search').addEventListener('input', render);
$('theme').addEventListener('click', toggleTheme);
$('export').addEventListener('click', () => void exportFile());
$('open').addEventListener('change', (event) => void openFile(event.target as HTMLInputElement));
$('time').addEventListener('input', (event) => travel(Number((event.target as HTMLInputElement).value)));
$('live').addEventListener('click', () => {
  $<HTMLInputElement>('time').value = '1000';
  travel(1000);
});
document.addEventListener('keydown', onKey);
// Countdowns and times in state move on by themselves, while somebody looks.
setInterval(() => {
  if (document.visibilityState === 'visible' && model.moment === undefined && !model.offline)
    $('detail').replaceChildren(...drawDetail(model, chosen()));
}, 1000);

render();
await model.load().catch(() => {});
void model.follow();

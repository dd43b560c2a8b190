/// <reference lib="dom" />
/** The page: wires the model to the views, the keyboard and the controls. */
import { drawBuilds } from './builds.ts';
import { ChartFolds, visitsAt } from './chart-pane.ts';
import { drawDetail } from './detail.ts';
import { $, clock, h } from './dom.ts';
import { drawLanes } from './lanes.ts';
import { flagsOf } from './flags.ts';
import { keyOf, Model, nameOf, type PageActor, type Snapshot, timeOf } from './model.ts';
import { Pane } from './pane.ts';
import { drawSequence } from './sequence.ts';
import { drawJournal, drawTree } from './views.ts';

const VIEWS = ['Chart', 'Lanes', 'Sequence', 'Builds', 'Journal'] as const;
type View = (typeof VIEWS)[number];

let view: View = 'Chart';
const model = new Model(render);
const folds = new ChartFolds(render);
const fold = (text: string, open: boolean): HTMLElement =>
  h('button', { type: 'button', click: () => withChart((chart) => folds.all(chart, open)) }, text);
const pane = new Pane([fold('Open all', true), fold('Fold', false)]);
$('view').append(pane.element);

const chosen = (): PageActor | undefined => (model.chosen ? model.actors.get(model.chosen) : undefined);

function withChart(act: (chart: NonNullable<Awaited<ReturnType<Model['chart']>>>) => void): void {
  const actor = chosen();
  if (actor) void model.chart(actor).then((chart) => chart && act(chart));
}

function choose(key: string): void {
  model.choose(key);
  if (view === 'Lanes') view = 'Chart';
  render();
}

function show(next: View): void {
  view = next;
  pane.fit();
  render();
}

/** Which of the elements that a redraw replaces has the focus; it gets it back. */
const FOCUSABLE = ['data-key', 'data-state', 'data-view', 'data-fact'] as const;

function keepFocus(redraw: () => void): void {
  const focused = document.activeElement;
  const name = FOCUSABLE.find((attribute) => focused?.hasAttribute(attribute));
  const value = name && focused!.getAttribute(name)!;
  redraw();
  if (name) document.querySelector<HTMLElement>(`[${name}="${CSS.escape(value!)}"]`)?.focus({ preventScroll: true });
}

function render(): void {
  keepFocus(() => {
    $('tree').replaceChildren(...drawTree(model, $<HTMLInputElement>('search').value, choose));
    $('tabs').replaceChildren(...VIEWS.map(tab));
  });
  renderDetail();
  renderStatus();
  void renderView();
}

function renderDetail(): void {
  const actor = chosen();
  keepFocus(() => showDetail(actor));
}

function showDetail(actor: PageActor | undefined): void {
  $('detail').replaceChildren(...drawDetail(model, actor, actor ? visitsAt(model, actor) : new Map(), travelTo));
}

const tab = (name: View, at: number): HTMLElement =>
  h(
    'button',
    {
      type: 'button',
      role: 'tab',
      'aria-selected': String(view === name),
      'aria-controls': 'view',
      'data-view': name,
      title: `${name} (${at + 1})`,
      click: () => show(name),
    },
    name,
  );

function renderStatus(): void {
  const running = [...model.actors.values()].filter(
    (actor) => actor.kind === 'container' && actor.state.startsWith('running'),
  ).length;
  const source = model.offline ? 'an exported file' : model.connected ? 'live' : 'not connected';
  const sampled = model.skipped ? `, sampled: ${model.skipped} facts left out under load` : '';
  $('status').textContent = `${source}: ${model.actors.size} actors, ${running} containers running${sampled}`;
  renderAttention();
  $('moment').textContent = model.moment === undefined ? 'live' : clock(model.moment);
  document.body.dataset.past = String(model.moment !== undefined);
}

const MOST_TOLD = 3;
let toldUnwell = '';

/** What wants attention, from every view; made anew only when it changed, since it is read out. */
function renderAttention(): void {
  const unwell = [...model.actors.values()].flatMap((actor) => flagsOf(model, actor).map((flag) => ({ actor, flag })));
  const told = unwell.map(({ actor, flag }) => `${keyOf(actor)} ${flag.word}`).join();
  if (told === toldUnwell) return;
  toldUnwell = told;
  const shown = unwell.slice(0, MOST_TOLD).map(({ actor, flag }) => {
    const text = `${nameOf(actor)} is ${flag.word}`;
    return h('button', { type: 'button', title: flag.text, click: () => choose(keyOf(actor)) }, text);
  });
  const more = unwell.length - shown.length;
  $('attention').replaceChildren(...shown, ...(more ? [`and ${more} more`] : []));
}

let drawing = 0;

async function renderView(): Promise<void> {
  const turn = ++drawing;
  const drawn = await drawView();
  // A later render overtook this one while the layout was computed.
  if (turn !== drawing) return;
  keepFocus(() => pane.show(drawn));
  showCurrent();
}

let shown = '';

/** Brings the current states into sight, once for each actor and state: who scrolls on is not pulled back. */
function showCurrent(): void {
  const actor = chosen();
  const what = actor && view === 'Chart' ? `${model.chosen} ${model.at(actor).state}` : view;
  if (what !== shown && view === 'Chart') {
    const current = pane.element.querySelector('[data-on=true]');
    if (current) pane.reveal(current);
  } else if (what !== shown && view === 'Sequence') pane.toEnd();
  shown = what;
}

async function drawView(): Promise<Element> {
  const actor = chosen();
  if (view === 'Sequence') return drawSequence(model, actor, pane.width);
  if (view === 'Journal') return drawJournal(model, actor);
  if (view === 'Builds') return drawBuilds(model, actor);
  return view === 'Chart' && actor ? folds.draw(model, actor) : drawLanes(model, pane.width, choose);
}

function travel(position: number): void {
  const [first, last] = [model.facts[0], model.facts.at(-1)];
  if (!first || !last || position >= SLIDER) model.moment = undefined;
  else model.moment = timeOf(first) + ((timeOf(last) - timeOf(first)) * position) / SLIDER;
  render();
}

const SLIDER = 1000;

/** To a moment of the journal; the slider follows. */
function travelTo(ms: number): void {
  const [first, last] = [model.facts[0], model.facts.at(-1)];
  if (!first || !last) return;
  model.moment = ms;
  const position = ((ms - timeOf(first)) / Math.max(1, timeOf(last) - timeOf(first))) * SLIDER;
  $<HTMLInputElement>('time').value = String(Math.max(0, Math.min(SLIDER - 1, position)));
  render();
}

/** To the transition before or after the moment that is looked at, of the chosen actor or of all. */
function travelBy(direction: 1 | -1): void {
  const actor = chosen();
  const moves = (actor ? model.factsOf(actor) : model.facts).filter(({ topic }) => topic === 'transition');
  // What is shown is the end of a transition's millisecond.
  const now = model.now() - 1;
  const next = direction < 0 ? moves.findLast((fact) => timeOf(fact) < now) : moves.find((fact) => timeOf(fact) > now);
  if (next) travelTo(timeOf(next) + 1);
  else if (direction > 0) backToNow();
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
  if (!file) return;
  try {
    model.open(JSON.parse(await file.text()) as Snapshot);
  } catch {
    $('status').textContent = `${file.name} is not an exported file`;
  }
}

function toggleTheme(): void {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
}

const KEYS: Record<string, () => void> = {
  '/': () => $('search').focus(),
  t: toggleTheme,
  '+': () => pane.zoomBy(1.2),
  '-': () => pane.zoomBy(1 / 1.2),
  '0': () => pane.fit(),
  l: () => backToNow(),
  '[': () => travelBy(-1),
  ']': () => travelBy(1),
};

function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const typing = target instanceof HTMLInputElement && target.type === 'search';
  if (event.key === 'Escape' && typing) target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const named = VIEWS[Number(event.key) - 1];
  const arrow = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]!();
  } else if (named) show(named);
  // In the drawing arrows scroll, on the slider they travel.
  else if (arrow && !target.closest('#view, footer')) {
    event.preventDefault();
    step(arrow);
  }
}

/** Moves the choice in the tree. */
function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('#tree [data-key]')];
  const at = rows.findIndex((row) => row.dataset.key === model.chosen);
  const key = rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.dataset.key;
  if (!key) return;
  choose(key);
  document.querySelector<HTMLElement>(`#tree [data-key="${CSS.escape(key)}"]`)?.focus();
}

function backToNow(): void {
  $<HTMLInputElement>('time').value = String(SLIDER);
  travel(SLIDER);
}

$('search').addEventListener('input', render);
$('theme').addEventListener('click', toggleTheme);
$('export').addEventListener('click', () => void exportFile());
$('open').addEventListener('change', (event) => void openFile(event.target as HTMLInputElement));
$('time').addEventListener('input', (event) => travel(Number((event.target as HTMLInputElement).value)));
$('live').addEventListener('click', backToNow);
$('before').addEventListener('click', () => travelBy(-1));
$('after').addEventListener('click', () => travelBy(1));
document.addEventListener('keydown', onKey);
// Nothing is drawn while nobody sees it.
document.addEventListener('visibilitychange', () => model.changed());
addEventListener('resize', () => {
  shown = '';
  model.changed();
});
// Countdowns and times in state move on by themselves, while somebody looks.
setInterval(() => {
  if (document.visibilityState === 'visible' && model.moment === undefined && !model.offline) renderDetail();
}, 1000);

render();
await model.load().catch(() => {});
void model.follow();

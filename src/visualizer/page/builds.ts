/// <reference lib="dom" />
/** Builds as graphs: each step a box, green when it came from the cache, else with the reason why not. Read from facts, so past builds show too. */
import { span } from '../explain.ts';
import type { WireFact } from '../wire.ts';
import { type Line, pathOf, place, type Placed } from './chart-layout.ts';
import { clock, h, s } from './dom.ts';
import { type Model, type PageActor, timeOf } from './model.ts';

interface Step {
  id: string;
  label: string;
  inputs: string[];
  cached: boolean;
  why: string;
}

const MOST_BUILDS = 10;
const LINE = 46;

function stepsOf(facts: readonly WireFact[]): Step[] {
  const steps = new Map<string, Step>();
  for (const { topic, action, data = {} } of facts) {
    if (topic !== 'effect' || (action !== 'cached' && action !== 'step')) continue;
    const label = String(data.step);
    // The label says its place: `[name 2/5] RUN make` is the step of index 1 in its stage.
    const index = Number(/^\[(?:.* )?(\d+)\/\d+\]/.exec(label)?.[1] ?? 1) - 1;
    const id = `stage-${String(data.stage)}-step-${index}`;
    steps.set(id, {
      id,
      label,
      inputs: (data.inputs ?? []) as string[],
      cached: action === 'cached',
      why: String(data.why ?? ''),
    });
  }
  // What a step needs may have told nothing (a FROM): then its input is not drawn.
  return [...steps.values()].map((step) => ({ ...step, inputs: step.inputs.filter((input) => steps.has(input)) }));
}

function wrapped(text: string): string[] {
  const lines: string[] = [];
  for (let rest = text; rest && lines.length < 3; rest = rest.slice(LINE).trimStart()) lines.push(rest.slice(0, LINE));
  return lines;
}

const linesOf = (step: Step): string[] => [
  ...wrapped(step.label).slice(1),
  ...wrapped(step.cached ? 'from the cache' : step.why || 'run'),
];

export async function drawBuilds(model: Model, chosen: PageActor | undefined): Promise<Element> {
  const facts = model
    .until()
    .filter((fact) => fact.type === 'build' && (chosen?.kind !== 'build' || fact.id === chosen.id));
  const builds = [...Map.groupBy(facts, (fact) => fact.id)].slice(-MOST_BUILDS).reverse();
  if (!builds.length) return h('p', { class: 'empty' }, 'No build in what is kept here.');
  return h('div', {}, ...(await Promise.all(builds.map(([id, list]) => drawBuild(id, list)))));
}

async function drawBuild(id: string, facts: WireFact[]): Promise<HTMLElement> {
  const steps = stepsOf(facts);
  const moves = facts.filter((fact) => fact.topic === 'transition');
  const took = timeOf(facts.at(-1)!) - timeOf(facts[0]!);
  const cached = steps.filter((step) => step.cached).length;
  const state = String(moves.at(-1)?.data?.to ?? '');
  return h(
    'section',
    { class: 'build', 'aria-label': `build ${id.slice(0, 12)}` },
    h('h2', {}, `Build ${id.slice(0, 12)}`),
    h(
      'p',
      { class: 'empty' },
      `${clock(timeOf(facts[0]!))}, ${state}, ${span(took)}; ${cached} of ${steps.length} steps from the cache`,
    ),
    steps.length ? await graph(steps) : undefined,
  );
}

async function graph(steps: Step[]): Promise<SVGElement> {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const nodes = steps.map((step) => ({ id: step.id, key: step.label, effects: [], hidden: 0, states: [] }));
  const edges = steps.flatMap((step) =>
    step.inputs.map((input) => ({
      id: `${input}→${step.id}`,
      source: input,
      target: step.id,
      parent: '',
      events: [],
      all: [],
    })),
  );
  const placed = await place(nodes, edges, (node) => ({
    title: wrapped(node.key)[0] ?? '',
    lines: linesOf(byId.get(node.id)!),
  }));
  return s(
    'svg',
    { width: placed.width, height: placed.height, role: 'group', 'aria-label': `${steps.length} steps of the build` },
    ...placed.lines.map((line: Line) => s('path', { class: 'input', d: pathOf(line) })),
    ...steps.map((step) => drawStep(step, placed)),
  );
}

function drawStep(step: Step, placed: Placed): SVGElement {
  const { x, y, width, height } = placed.boxes.get(step.id)!;
  return s(
    'g',
    { role: 'img', 'aria-label': `${step.label}: ${step.cached ? 'cached' : step.why || 'run'}` },
    s('title', {}, `${step.label}\n${step.why}`),
    s('rect', { class: `node ${step.cached ? 'cached' : 'made'}`, x, y, width, height, rx: 8 }),
    s('text', { class: 'title', x: x + 14, y: y + 21 }, wrapped(step.label)[0] ?? ''),
    ...linesOf(step).map((line, i) => s('text', { class: 'soft', x: x + 14, y: y + 38 + i * 15 }, line)),
  );
}

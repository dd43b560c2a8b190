/// <reference lib="dom" />
/** Which states of a chart are open: those that are or were current while it is looked at, and those opened by hand. */
import { compounds } from '../collapse.ts';
import { activeIds, type Visits, visitsOf } from '../past.ts';
import { drawChart } from './chart-view.ts';
import { h } from './dom.ts';
import { keyOf, type Model, type PageActor, type PageChart, timeOf } from './model.ts';

export class ChartFolds {
  #key = '';
  #open = new Set<string>();
  #closed = new Set<string>();
  #onChange: () => void;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  #toggle(id: string): void {
    const [from, to] = this.#open.has(id) ? [this.#open, this.#closed] : [this.#closed, this.#open];
    from.delete(id);
    to.add(id);
    this.#onChange();
  }

  /** Opens everything, or leaves only the current states open. */
  all(chart: PageChart, open: boolean): void {
    this.#closed.clear();
    this.#open = new Set(open ? compounds(chart.root) : []);
    this.#onChange();
  }

  /** States stay open once they were current, so that a loop does not move the drawing each time round. */
  #opened(key: string, chart: PageChart, state: string): Set<string> {
    if (key !== this.#key) {
      this.#key = key;
      this.#open.clear();
      this.#closed.clear();
    }
    const folding = new Set(compounds(chart.root));
    for (const id of activeIds(chart, state)) if (folding.has(id) && !this.#closed.has(id)) this.#open.add(id);
    return this.#open;
  }

  async draw(model: Model, actor: PageActor): Promise<Element> {
    const chart = await model.chart(actor);
    if (!chart) return h('p', { class: 'empty' }, 'This actor has no statechart to draw.');
    const { state } = model.at(actor);
    const now = model.now();
    const moved = model.factsOf(actor).findLast((fact) => fact.topic === 'transition' && timeOf(fact) <= now);
    return drawChart(chart, {
      state,
      last: moved && { from: String(moved.data?.from ?? ''), to: String(moved.data?.to ?? '') },
      visits: visitsAt(model, actor),
      open: this.#opened(keyOf(actor), chart, state),
      toggle: (id) => this.#toggle(id),
    });
  }
}

/** Empty until the actor's chart was read. */
export function visitsAt(model: Model, actor: PageActor): Map<string, Visits> {
  const chart = model.charts.get(actor.kind);
  if (!chart) return new Map();
  const now = model.now();
  return visitsOf(
    chart,
    model.factsOf(actor).filter((fact) => timeOf(fact) <= now),
    now,
  );
}

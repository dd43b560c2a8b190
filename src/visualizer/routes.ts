/** What the visualizer, the monitor and `reactord explain` read, under /reactord on the daemon's own socket. Reads only. */
import { type Api, flag, integer, text } from '../api/kit.ts';
import { streamAnswer } from '../api/stream.ts';
import type { Bus } from '../bus/bus.ts';
import { notFound } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Entry, Reactor } from '../reactor/reactor.ts';
import type { Journal } from '../store/port.ts';
import { feedLines } from './feed.ts';
import { activeNodes, chartOf, factJson, viewActor } from './view.ts';

export interface VisualizerSource {
  reactor: Reactor;
  bus: Bus;
  clock: Clock;
  journal: Journal;
  /** What people call an actor, and its Compose project; '' where it has none. */
  label(kind: string, id: string): { name: string; project: string };
}

const HISTORY_LIMIT = 10_000;

export function visualizerRoutes(api: Api, source: VisualizerSource): void {
  const { reactor, journal } = source;
  const view = (entry: Entry): object => {
    const { name, project } = source.label(entry.kind, entry.id);
    return { ...viewActor(entry, name), project };
  };
  const find = (kind: string, id: string): Entry => {
    const exact = reactor.entry(kind, id);
    if (exact) return exact;
    for (const entry of reactor.entries(kind))
      if (source.label(kind, entry.id).name === id || (id.length >= 4 && entry.id.startsWith(id))) return entry;
    throw notFound(`No such actor: ${kind}/${id}`);
  };

  api.get('/reactord/actors', (c) => {
    const kind = text(c, 'kind');
    return c.json([...reactor.entries(kind)].map(view));
  });
  api.get('/reactord/actors/:kind/:id/chart', (c) => {
    const { actor } = find(c.req.param('kind'), c.req.param('id'));
    const chart = chartOf(actor);
    if (!chart) throw notFound('this actor has no statechart');
    return c.json({ ...chart, active: activeNodes(actor) });
  });
  api.get('/reactord/actors/:kind/:id/history', (c) => {
    const [kind, id] = [c.req.param('kind'), c.req.param('id')];
    // An object that is gone still has its history.
    const known = [...reactor.entries(kind)].some((entry) => entry.id === id) ? id : undefined;
    return c.json(
      history(journal, known ?? idOf(() => find(kind, id).id, id), c.req.query('topics'), integer(c, 'limit')),
    );
  });
  api.get('/reactord/actors/:kind/:id', (c) => c.json(view(find(c.req.param('kind'), c.req.param('id')))));
  api.get('/reactord/facts', (c) => {
    const limit = Math.min(integer(c, 'limit') ?? 1000, HISTORY_LIMIT);
    const topics = c.req.query('topics')?.split(',');
    const afterSeq = integer(c, 'after');
    return c.json(journal.read({ limit, topics, afterSeq }).map(factJson));
  });
  /** `whole=1`: nothing is left out under load. */
  api.get('/reactord/feed', (c) => {
    const { bus, clock } = source;
    const lines = feedLines({ bus, clock, whole: flag(c, 'whole'), gone: c.get('gone') });
    return streamAnswer(c, lines, 'application/json');
  });
}

const idOf = (find: () => string, fallback: string): string => {
  try {
    return find();
  } catch {
    return fallback;
  }
};

function history(journal: Journal, id: string, topics: string | undefined, limit: number | undefined): object[] {
  const facts = journal.read({ id, topics: topics?.split(','), limit: Math.min(limit ?? 1000, HISTORY_LIMIT) });
  return facts.map(factJson);
}

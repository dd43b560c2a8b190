/** What the visualizer, the monitor and `reactord explain` read, under /reactord on the daemon's own socket. Reads only. */
import { type Api, flag, integer, text } from '../api/kit.ts';
import { streamAnswer } from '../api/stream.ts';
import type { Bus } from '../bus/bus.ts';
import { notFound } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Entry, Reactor } from '../reactor/reactor.ts';
import type { Journal, JournalQuery } from '../store/port.ts';
import { feedLines } from './feed.ts';
import { activeNodes, chartOf, factJson, viewActor } from './view.ts';
import { type Chain, chainTo, toldChain } from './why.ts';
import type { WireFact } from './wire.ts';

export interface Label {
  name: string;
  project: string;
  restarts?: number;
}

export interface VisualizerSource {
  reactor: Reactor;
  bus: Bus;
  clock: Clock;
  journal: Journal;
  /** What people call an actor, and its Compose project; '' where it has none. Of a container also how often its policy restarted it. */
  label(kind: string, id: string): Label;
}

const HISTORY_LIMIT = 10_000;

export function visualizerRoutes(api: Api, source: VisualizerSource): void {
  const { reactor, journal } = source;
  const view = (entry: Entry): object => {
    const { name, ...more } = source.label(entry.kind, entry.id);
    return { ...viewActor(entry, name), ...more };
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
  /** What led to its last transition, or with `at=<seq>` to its last one up to there. */
  api.get('/reactord/actors/:kind/:id/why', (c) => {
    const [kind, id] = [c.req.param('kind'), c.req.param('id')];
    const at = integer(c, 'at');
    return c.json(whyIn(journal, { kind, id: idOf(() => find(kind, id).id, id) }, at));
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

function whyIn(journal: Journal, actor: { kind: string; id: string }, at: number | undefined): Chain {
  const read = (query: JournalQuery): WireFact[] => journal.read(query).map((fact) => factJson(fact) as WireFact);
  const moveBefore = (id: string, type: string, beforeSeq: number): WireFact | undefined =>
    read({ id, topics: ['transition'], beforeSeq, limit: 1 }).find((fact) => fact.type === type);
  const end = moveBefore(actor.id, actor.kind, (at ?? journal.lastSeq) + 1);
  if (!end) return { facts: [], isCut: false, isBroken: false };
  const chain = chainTo(end, {
    fact: (seq) => read({ seq })[0],
    moveBefore: (fact) => moveBefore(fact.id, fact.type, fact.seq),
  });
  const afterSeq = chain.facts[0]!.seq;
  // An answer is filed under its command's path.
  const answers = chain.facts
    .filter(({ topic }) => topic === 'command')
    .flatMap(({ id, seq }) => read({ id, topics: ['command'], afterSeq: seq, limit: HISTORY_LIMIT }));
  return toldChain(chain, [...read({ id: actor.id, topics: ['event'], afterSeq, limit: HISTORY_LIMIT }), ...answers]);
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

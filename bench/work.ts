/** What cases are made of: containers over the API, and medians of times. */
import type { Peer } from './peers.ts';

export const milliseconds = async (work: () => unknown): Promise<number> => {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
};

/** Untimed first runs: a daemon lives for weeks, and what it does for the first time is not what its users wait for. */
const WARM_UP = 4;

/** The median of `times` runs. */
export async function medianOf(times: number, work: () => unknown, warmUp = WARM_UP): Promise<number> {
  for (let i = 0; i < warmUp; i++) await work();
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await milliseconds(work));
  return all.sort((a, b) => a - b)[Math.floor(times / 2)]!;
}

export const created = (peer: Peer, more: object = {}): Promise<string> =>
  peer
    .call('POST', '/containers/create', { Image: peer.image, Cmd: ['sleep', '1000'], ...more })
    .then(({ body }) => (JSON.parse(body.toString()) as { Id: string }).Id);
export const start = (peer: Peer, id: string): Promise<unknown> => peer.call('POST', `/containers/${id}/start`);
export const remove = (peer: Peer, id: string): Promise<unknown> => peer.call('DELETE', `/containers/${id}?force=1`);

export async function many(peer: Peer, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push(await created(peer, { Labels: { n: String(i) } }));
  return ids;
}

export const removeAll = async (peer: Peer, ids: string[]): Promise<void> => {
  for (const id of ids) await remove(peer, id);
};

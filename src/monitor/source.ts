/** Reads what the monitor shows: containers, their actors, and one sample a second of the running ones. */
import type { DaemonClient } from '../commands/client.ts';
import { span, waitsOf } from '../visualizer/explain.ts';
import { type ActorView, eventText } from '../visualizer/view.ts';
import type { MonitorRow } from './table.ts';

interface ListedContainer {
  Id: string;
  Names: string[];
  State: string;
  Status: string;
  Labels: Record<string, string> | null;
}

interface StatsBody {
  cpu_stats?: { cpu_usage?: { total_usage?: number } };
  memory_stats?: { usage?: number; stats?: Record<string, number> };
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }>;
  blkio_stats?: { io_service_bytes_recursive?: { op: string; value: number }[] | null };
}

/** Containers have their number of restarts by the policy. */
type ContainerActor = ActorView & { restarts?: number };

type Usage = Pick<MonitorRow, 'cpu' | 'memory' | 'network' | 'block'>;

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

/** Docker's figures of one sample; cpu is in percent of one core since the sample before. */
export function usageOf(stats: StatsBody, before: { cpu: number; at: number } | undefined, now: number): Usage {
  const total = stats.cpu_stats?.cpu_usage?.total_usage ?? 0;
  const memory = stats.memory_stats?.usage;
  const cached = stats.memory_stats?.stats?.total_inactive_file ?? stats.memory_stats?.stats?.inactive_file ?? 0;
  const networks = Object.values(stats.networks ?? {});
  const blocks = stats.blkio_stats?.io_service_bytes_recursive ?? [];
  const blockBytes = (op: string): number =>
    sum(blocks.filter((row) => row.op.toLowerCase() === op).map((row) => row.value));
  return {
    ...(before && now > before.at ? { cpu: Math.max(0, (total - before.cpu) / ((now - before.at) * 1e4)) } : {}),
    ...(memory === undefined ? {} : { memory: Math.max(0, memory - cached) }),
    network: { rx: sum(networks.map((net) => net.rx_bytes)), tx: sum(networks.map((net) => net.tx_bytes)) },
    block: { read: blockBytes('read'), write: blockBytes('write') },
  };
}

/** What it waits for first, in the width of a column; what only watches over a running container is nothing to wait for. */
function waitsFor(actor: ActorView, now: number): string {
  const [first] = waitsOf(actor, now).filter(({ kind, limit }) => kind === 'timer' || limit !== undefined);
  if (!first) return '';
  const { kind, name, ms, limit, isLate } = first;
  if (kind === 'timer') return `${name} in ${span(ms)}`;
  return `${name} ${span(ms)} of ${span(limit!)}${isLate ? ', late' : ''}`;
}

const healthOf = (status: string): string => /\((?:health: )?(healthy|unhealthy|starting)\)/.exec(status)?.[1] ?? '';

export class MonitorSource {
  #client: DaemonClient;
  #before = new Map<string, { cpu: number; at: number }>();

  constructor(client: DaemonClient) {
    this.#client = client;
  }

  async read(): Promise<MonitorRow[]> {
    const [containers, actors] = await Promise.all([
      this.#client.get<ListedContainer[]>('/containers/json?all=1'),
      this.#client.get<ContainerActor[]>('/reactord/actors?kind=container'),
    ]);
    const byId = new Map(actors.map((actor) => [actor.id, actor]));
    const now = Date.now();
    const rows = await Promise.all(containers.map((container) => this.#row(container, byId.get(container.Id), now)));
    for (const id of this.#before.keys()) if (!byId.has(id)) this.#before.delete(id);
    return rows;
  }

  async #row(container: ListedContainer, actor: ContainerActor | undefined, now: number): Promise<MonitorRow> {
    const usage = container.State === 'running' ? await this.#usage(container.Id) : {};
    return {
      id: container.Id,
      name: container.Names[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12),
      project: container.Labels?.['com.docker.compose.project'] ?? '',
      state: actor?.state.split(/[.{]/)[0] ?? container.State,
      health: healthOf(container.Status),
      since: actor?.since ?? now,
      restarts: actor?.restarts ?? 0,
      lastEvent: actor ? eventText(actor.lastEvent) : '',
      waiting: actor ? waitsFor(actor, now) : '',
      ...usage,
    };
  }

  async #usage(id: string): Promise<Usage> {
    try {
      const stats = await this.#client.get<StatsBody>(`/containers/${id}/stats?stream=false&one-shot=true`);
      const now = Date.now();
      const usage = usageOf(stats, this.#before.get(id), now);
      this.#before.set(id, { cpu: stats.cpu_stats?.cpu_usage?.total_usage ?? 0, at: now });
      return usage;
    } catch {
      // It ended between the list and the sample.
      return {};
    }
  }
}

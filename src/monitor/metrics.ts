/**
 * Prometheus metrics: dockerd's engine_daemon_* names, so that dashboards go on working, and ours under reactord_*. Counted from the bus; gauges are
 * read when scraped. Series of single containers only for those that ask for it with a label, and only so many.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, Registry } from 'prom-client';
import type { Bus } from '../bus/bus.ts';
import type { HostFacts } from '../host/port.ts';
import type { Reactor } from '../reactor/reactor.ts';
import type { Journal } from '../store/port.ts';
import { VERSION } from '../version.ts';
import { counters } from './counters.ts';

/** `docker run --label reactord.metrics=true`: this container gets series of its own. */
export const METRICS_LABEL = 'reactord.metrics';
/** More containers than this with the label are not told apart. */
const MOST_SERIES = 100;
export interface ContainerSample {
  id: string;
  name: string;
  labels: Record<string, string>;
  state: string;
  restarts: number;
}

export interface MetricsSource {
  bus: Bus;
  reactor: Reactor;
  journal: Journal;
  host: HostFacts;
  /** The daemon's id and what it was built from, as /info and /version tell them. */
  daemonId: string;
  commit: string;
  containers(): ContainerSample[];
}

export interface Metrics {
  contentType: string;
  text(): Promise<string>;
  close(): void;
}

export function createMetrics(source: MetricsSource): Metrics {
  const registry = new Registry();
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  engineGauges(registry, source);
  containerGauges(registry, source);
  reactorGauges(registry, source, delay);
  const { count, close } = counters(registry);
  const subscription = source.bus.facts$.subscribe({ next: count, error: () => {} });
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    close() {
      close();
      subscription.unsubscribe();
      delay.disable();
    },
  };
}

function engineGauges(registry: Registry, { host, containers, daemonId, commit }: MetricsSource): void {
  const registers = [registry];
  new Gauge({
    name: 'engine_daemon_engine_info',
    help: 'The daemon and its host',
    labelNames: [
      ...['version', 'commit', 'architecture', 'graphdriver', 'kernel', 'os', 'os_type', 'os_version', 'daemon_id'],
    ],
    registers,
  }).set(
    {
      version: VERSION,
      commit,
      os_type: 'linux',
      daemon_id: daemonId,
      architecture: host.machine,
      kernel: host.kernelVersion,
      os: host.operatingSystem,
      os_version: host.osVersion,
      graphdriver: 'overlay2',
    },
    1,
  );
  new Gauge({ name: 'engine_daemon_engine_cpus_cpus', help: 'CPUs of the host', registers }).set(host.cpus);
  new Gauge({ name: 'engine_daemon_engine_memory_bytes', help: 'Memory of the host', registers }).set(host.memoryBytes);
  new Gauge({
    name: 'engine_daemon_container_states_containers',
    help: 'Containers by state',
    labelNames: ['state'],
    registers,
    collect() {
      const all = containers();
      const is = (...states: string[]): number => all.filter(({ state }) => states.includes(state)).length;
      this.set({ state: 'running' }, is('running', 'restarting'));
      this.set({ state: 'paused' }, is('paused'));
      this.set({ state: 'stopped' }, is('created', 'exited', 'dead', 'removing'));
    },
  });
}

/** Series of single containers, of those that ask for it and only so many. */
function containerGauges(registry: Registry, { containers }: MetricsSource): void {
  const registers = [registry];
  const chosen = (): ContainerSample[] =>
    containers()
      .filter(({ labels }) => labels[METRICS_LABEL] === 'true')
      .slice(0, MOST_SERIES);
  new Gauge({
    name: 'reactord_container_restarts',
    help: `Restarts by the policy of containers labelled ${METRICS_LABEL}`,
    labelNames: ['id', 'name'],
    registers,
    collect() {
      this.reset();
      for (const { id, name, restarts } of chosen()) this.set({ id: id.slice(0, 12), name }, restarts);
    },
  });
  new Gauge({
    name: 'reactord_container_state',
    help: `1 for the state of each container labelled ${METRICS_LABEL}`,
    labelNames: ['id', 'name', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { id, name, state } of chosen()) this.set({ id: id.slice(0, 12), name, state }, 1);
    },
  });
}

function reactorGauges(
  registry: Registry,
  source: MetricsSource,
  delay: ReturnType<typeof monitorEventLoopDelay>,
): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  new Gauge({
    name: 'reactord_actors',
    help: 'Actors by kind and outermost state',
    labelNames: ['kind', 'state'],
    registers,
    collect() {
      this.reset();
      for (const entry of source.reactor.entries())
        this.inc({ kind: entry.kind, state: /^\w*/.exec(entry.state)?.[0] ?? '' });
    },
  });
  gauge(
    'engine_daemon_events_subscribers_total',
    'Subscribers of the event stream',
    () => source.bus.stats.subscribers,
  );
  gauge('reactord_bus_depth', 'Facts that wait in slow subscribers', () => source.bus.stats.depth);
  gauge('reactord_bus_dropped', 'Facts that slow subscribers lost', () => source.bus.stats.dropped);
  gauge('reactord_journal_rows', 'Facts in the journal', () => source.journal.size);
  gauge('reactord_loop_delay_p99_seconds', 'Delay of the event loop since the last scrape, 99th percentile', () => {
    const p99 = delay.percentile(99) / 1e9;
    delay.reset();
    return Number.isFinite(p99) ? p99 : 0;
  });
  gauge('process_resident_memory_bytes', 'Resident memory of the daemon', () => process.memoryUsage.rss());
}

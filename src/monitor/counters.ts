/** What is counted from the facts as they come. Health checks are the execs that a container's probes led to. */
import { Counter, Histogram, type Registry } from 'prom-client';
import type { Fact } from '../bus/fact.ts';
import { onTook } from '../lib/took.ts';

const ACTION_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** dockerd's actions by the effects that do them here. */
const CONTAINER_ACTIONS: Record<string, string> = { create: 'create', launch: 'start', remove: 'delete' };
const NETWORK_ACTIONS: Record<string, string> = { network: 'allocate' };
/** There from the start, as dockerd's. */
const ALL_CONTAINER_ACTIONS = ['changes', 'commit', 'create', 'delete', 'start'];

const seconds = (from: bigint, to: bigint): number => Number(to - from) / 1e9;

export interface Counting {
  count(fact: Fact): void;
  close(): void;
}

export function counters(registry: Registry): Counting {
  const registers = [registry];
  const counter = <L extends string = never>(name: string, help: string, labelNames: L[] = []): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string = never>(name: string, help: string, labelNames: L[] = []): Histogram<L> =>
    new Histogram({ name, help, labelNames, buckets: ACTION_SECONDS, registers });
  const events = counter('engine_daemon_events_total', 'Docker events');
  const transitions = counter('reactord_transitions_total', 'Transitions of statecharts', ['kind', 'to']);
  const failures = counter('reactord_effect_failures_total', 'Effects that failed', ['kind', 'effect']);
  const builds = counter('builder_builds_triggered_total', 'Builds begun');
  const failedBuilds = counter('builder_builds_failed_total', 'Builds that failed');
  const effects = histogram('reactord_effect_seconds', 'Duration of effects', ['kind', 'effect']);
  const actions = histogram('engine_daemon_container_actions_seconds', 'Duration of what is done to containers', [
    'action',
  ]);
  const networks = histogram('engine_daemon_network_actions_seconds', 'Duration of what is done to networks', [
    'action',
  ]);
  const host = histogram('engine_daemon_host_info_functions_seconds', 'Duration of what is told of the host', [
    'function',
  ]);
  for (const action of ALL_CONTAINER_ACTIONS) actions.zero({ action });
  const images = histogram('engine_daemon_image_actions_seconds', 'Duration of what is done to images', ['action']);
  const health = healthCounters(registry);
  /** When pulls and pushes began. */
  const transfers = new Map<string, bigint>();

  const moved = ({ type, id, data = {}, timeNano }: Fact): void => {
    const to = /^\w*/.exec(String(data.to))?.[0] ?? '';
    transitions.inc({ kind: type, to });
    if (type === 'build' && !data.from) builds.inc();
    if (type === 'build' && to === 'failed') failedBuilds.inc();
    if (type !== 'pull' && type !== 'push') return;
    const began = transfers.get(id);
    if (to === 'done' && began !== undefined) images.observe({ action: type }, seconds(began, timeNano));
    if (/done|failed|cancelled/.test(to)) transfers.delete(id);
    else if (!data.from) transfers.set(id, timeNano);
  };
  const ended = ({ type, action, data = {} }: Fact): void => {
    const effect = String(data.effect);
    if (action === 'fail') failures.inc({ kind: type, effect });
    const took = Number(data.ms) / 1000;
    effects.observe({ kind: type, effect }, took);
    if (type !== 'container' || action !== 'end') return;
    if (CONTAINER_ACTIONS[effect]) actions.observe({ action: CONTAINER_ACTIONS[effect] }, took);
    if (NETWORK_ACTIONS[effect]) networks.observe({ action: NETWORK_ACTIONS[effect] }, took);
  };
  const close = onTook(({ of, action, seconds: took }) => {
    if (of === 'container') actions.observe({ action }, took);
    else if (of === 'network') networks.observe({ action }, took);
    else host.observe({ function: action }, took);
  });
  const count = (fact: Fact): void => {
    health(fact);
    if (fact.topic === 'event') events.inc();
    else if (fact.topic === 'transition') moved(fact);
    // Steps of a build are told as effects that have no time of their own.
    else if (fact.topic === 'effect' && fact.data?.ms !== undefined) ended(fact);
  };
  return { count, close };
}

function healthCounters(registry: Registry): (fact: Fact) => void {
  const registers = [registry];
  const checks = new Counter({ name: 'engine_daemon_health_checks_total', help: 'Health checks run', registers });
  const failed = new Counter({
    ...{ name: 'engine_daemon_health_checks_failed_total', help: 'Health checks that failed', registers },
  });
  const starts = new Histogram({
    ...{ name: 'engine_daemon_health_check_start_duration_seconds', help: 'Time until a health check runs' },
    ...{ buckets: ACTION_SECONDS, registers },
  });
  /** Seqs of the beginnings of probes that go on, by container, and checks under way by the id of their exec. */
  const probes = new Map<string, number>();
  const begun = new Set<number>();
  const running = new Map<string, { began: bigint; isUp: boolean }>();
  return ({ topic, type, action, id, data = {}, attributes, cause, seq, timeNano }) => {
    if (topic === 'effect' && type === 'container' && data.effect === 'probes') {
      begun.delete(probes.get(id) ?? 0);
      probes.delete(id);
      if (action !== 'begin') return;
      probes.set(id, seq);
      begun.add(seq);
    } else if (topic === 'effect' && type === 'exec' && data.effect === 'start' && action === 'end') {
      const check = running.get(id);
      if (!check) return;
      check.isUp = true;
      starts.observe(seconds(check.began, timeNano));
    } else if (topic === 'transition' && type === 'exec') {
      const check = running.get(id);
      if (!data.from && cause !== undefined && begun.has(cause)) {
        checks.inc();
        running.set(id, { began: timeNano, isUp: false });
      } else if (check && data.to === 'exited') {
        if (!check.isUp) failed.inc();
        running.delete(id);
      }
    } else if (action === 'exec_die' && attributes.exitCode !== '0' && running.has(attributes.execID ?? ''))
      failed.inc();
  };
}

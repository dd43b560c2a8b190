/** The loop that runs a container's health checks while its process is up. The first comes after one interval, as in dockerd. */
import type { Clock } from '../lib/clock.ts';
import { nowNano, rfc3339Nano } from '../lib/clock.ts';
import type { Work } from './events.ts';
import { healthTimes, OUTPUT_LIMIT, probeCommand, hasHealthcheck } from './health.ts';
import type { ContainerRecord } from './record.ts';

export interface ProbeOutcome {
  /** −1 when it did not end in time. */
  exitCode: number;
  output: string;
}

/** Runs one command in the container; ends it after `timeout` ms. */
export type ProbeRunner = (
  record: ContainerRecord,
  command: string[],
  options: { timeout: number; outputLimit: number; signal: AbortSignal },
) => Promise<ProbeOutcome>;

/** Returns the end of the loop; a probe under way is called off. */
export function runProbes(deps: { clock: Clock; runProbe: ProbeRunner }, work: Work): () => void {
  const { record } = work;
  const check = record.config.Healthcheck;
  if (!check || !hasHealthcheck(check)) return () => {};
  const times = healthTimes(check);
  const command = probeCommand(check, record.config.Shell);
  const controller = new AbortController();
  const startedAt = Date.parse(record.state.startedAt);
  let healthy = record.state.health?.Status === 'healthy';
  let cancel: () => void;

  const isLenient = (): boolean => deps.clock.now() - startedAt < times.startPeriod;
  const wait = (): void => {
    const starting = !healthy && isLenient();
    cancel = deps.clock.after(starting ? Math.min(times.startInterval, times.interval) : times.interval, () => {
      void probe();
    });
  };
  const probe = async (): Promise<void> => {
    const Start = rfc3339Nano(nowNano(deps.clock));
    const { exitCode, output } = await deps
      .runProbe(record, command, { timeout: times.timeout, outputLimit: OUTPUT_LIMIT, signal: controller.signal })
      .catch((error: unknown): ProbeOutcome => ({
        exitCode: -1,
        output: String(error instanceof Error ? error.message : error),
      }));
    if (controller.signal.aborted) return;
    healthy ||= exitCode === 0;
    work.send({
      type: 'HEALTH',
      attempt: work.attempt,
      result: {
        Start,
        End: rfc3339Nano(nowNano(deps.clock)),
        ExitCode: exitCode,
        Output: output,
        lenient: isLenient(),
      },
    });
    wait();
  };
  wait();
  return () => {
    cancel();
    controller.abort();
  };
}

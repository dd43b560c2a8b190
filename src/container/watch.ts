/** Ties a task to its container: its output to the log and the attached clients, its end and its OOM to the chart. */
import { keepCause } from '../bus/cause.ts';
import type { ExitStatus, Task } from '../runtime/port.ts';
import type { EffectDeps } from './deps.ts';
import type { Work } from './events.ts';
import type { Session } from './session.ts';

/** News of an OOM and of the exit it caused come on different ways; the first may be the later one by this much. */
const OOM_NEWS_MS = 200;

/** Before the start, so that neither the first byte nor an end that comes at once is missed. */
export function watchTask(deps: EffectDeps, work: Work, session: Session, task: Task): void {
  const { record, attempt, send } = work;
  void deps.streamsOf(record).connect(task, session.log);
  const oom = Promise.withResolvers<void>();
  // Told on a connection of the runtime's, in nobody's name.
  task.onOom(
    keepCause(() => {
      send({ type: 'OOM', attempt });
      oom.resolve();
    }),
  );
  task.exited.then(
    async (exit) => {
      if (mayBeOom(work, exit)) await soon(deps, oom.promise);
      send({ type: 'EXIT', attempt, exit });
    },
    (error: unknown) => deps.log.error({ err: error, container: record.id }, 'waiting for a container failed'),
  );
}

/** Killed by SIGKILL with a limit on its memory: clients expect `oom` before `die`. */
const mayBeOom = ({ record }: Work, exit: ExitStatus): boolean =>
  exit.exitCode === 137 && !exit.synthesised && record.hostConfig.Memory > 0;

const soon = (deps: EffectDeps, news: Promise<void>): Promise<void> =>
  new Promise((resolve) => {
    const cancel = deps.clock.after(OOM_NEWS_MS, resolve);
    void news.then(() => {
      cancel();
      resolve();
    });
  });

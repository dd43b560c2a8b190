/** Ties a task to its container: its output to the log and the attached clients, its end and its OOM to the chart. */
import type { Task } from '../runtime/port.ts';
import type { EffectDeps } from './actors.ts';
import type { Work } from './events.ts';
import type { Session } from './session.ts';

/** Before the start, so that neither the first byte nor an end that comes at once is missed. */
export function watchTask(deps: EffectDeps, { record, attempt, send }: Work, session: Session, task: Task): void {
  void deps.streamsOf(record).connect(task, session.log);
  task.onOom(() => send({ type: 'OOM', attempt }));
  task.exited.then(
    (exit) => send({ type: 'EXIT', attempt, exit }),
    (error: unknown) => deps.log.error({ err: error, container: record.id }, 'waiting for a container failed'),
  );
}

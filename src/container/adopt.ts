/** After the daemon started again: takes up a container that went on running meanwhile. */
import type { Sandbox } from '../network/port.ts';
import { internal } from '../errors.ts';
import type { EffectDeps } from './deps.ts';
import type { Work } from './events.ts';
import { sandboxRequest } from './network-request.ts';
import { openLog } from './start.ts';
import { watchTask } from './watch.ts';

/** The task came from the runtime's probe and waits in the session. What cannot be taken up is reported and does not end the container. */
export async function adopt(deps: EffectDeps, work: Work): Promise<Sandbox | undefined> {
  const { record } = work;
  const session = deps.sessions.of(record.id);
  const { task } = session;
  if (!task) throw internal('the container has no task to take up');
  const survive = (what: string) => (error: unknown) => {
    deps.log.error({ err: error, container: record.id }, `${what} of a running container could not be taken up`);
    return undefined;
  };
  // The log first: output that waits in the pipes must find it.
  await openLog(deps, record, session).catch(survive('the log'));
  watchTask(deps, work, session, task);
  const volumes = record.mounts.flatMap((mount) => (mount.type === 'volume' ? [mount.name] : []));
  const [sandbox] = await Promise.all([
    record.sandbox &&
      deps.networks
        .restore(sandboxRequest(record, deps.idOf), record.sandbox)
        .catch(survive('the network'))
        .then((restored) => restored ?? record.sandbox),
    ...volumes.map((name) => deps.volumes.restore(name, record.id).catch(survive(`volume ${name}`))),
  ]);
  return sandbox;
}

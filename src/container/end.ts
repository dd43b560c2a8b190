/** The effects of an end: let go of what a process used, undo a start, take a container away. Idempotent, each step bounded. */
import { existsSync } from 'node:fs';
import { withDeadline } from '../lib/deadline.ts';
import { took } from '../lib/took.ts';
import type { EffectDeps } from './deps.ts';
import { removeBundle, removeDirectory } from './directory.ts';
import type { RemoveOrder, Work } from './events.ts';
import { closeMounts, imageRoots } from './mounting.ts';
import type { ContainerRecord } from './record.ts';
import type { Session } from './session.ts';
import { bundleOf } from './start.ts';

/** Grandchildren may hold the pipes open; the container's end does not wait for them longer than this. */
const DRAIN_MS = 2_000;
const NETWORK_MS = 15_000;
const VOLUME_MS = 30_000;

/** All steps run, whatever fails; the first failure is thrown at the end. */
async function everything(deps: EffectDeps, id: string, steps: Record<string, Promise<unknown>>): Promise<void> {
  const names = Object.keys(steps);
  const results = await Promise.allSettled(Object.values(steps));
  let first: unknown;
  results.forEach((result, index) => {
    if (result.status === 'fulfilled') return;
    first ??= result.reason;
    deps.log.warn({ err: result.reason, container: id, step: names[index] }, 'a step of letting go failed');
  });
  if (first !== undefined) throw first;
}

/** After the exit: everything the process used is free again, the log has every byte. */
export async function settle(deps: EffectDeps, { record }: Work): Promise<void> {
  const session = deps.sessions.of(record.id);
  await session.quiet();
  await everything(deps, record.id, {
    task: endTask(deps, record, session),
    network: closeNetwork(deps, record, session).then(() => letGoOfMounts(deps, record)),
  });
}

async function endTask(deps: EffectDeps, record: ContainerRecord, session: Session): Promise<void> {
  await endStreams(deps, session);
  const bundle = bundleOf(deps, record.id);
  const task = session.task;
  session.task = undefined;
  session.frozen = false;
  session.process = undefined;
  const deleted = task?.delete().then(
    () => true,
    (error: unknown) => deps.log.warn({ err: error, container: record.id }, 'a task could not be deleted'),
  );
  // Without a task, or when it did not let go, what is left is taken away from outside.
  if (!(await deleted) && existsSync(bundle)) await deps.runtime.cleanup(record.id, bundle);
  await removeBundle(bundle);
}

async function endStreams(deps: EffectDeps, session: Session): Promise<void> {
  if (session.task) await withinDrain(deps, session.streams?.drained);
  const log = session.log;
  session.log = undefined;
  await log?.close();
}

const withinDrain = (deps: EffectDeps, drained: Promise<unknown> | undefined): Promise<void> =>
  new Promise((resolve) => {
    const cancel = deps.clock.after(DRAIN_MS, resolve);
    const done = (): void => {
      cancel();
      resolve();
    };
    Promise.resolve(drained).then(done, done);
  });

async function closeNetwork(deps: EffectDeps, { id }: ContainerRecord, session: Session): Promise<void> {
  session.namespace = undefined;
  const close = (): Promise<void> => deps.networks.close(id);
  await took('network', 'release', () => withDeadline('closing the network', NETWORK_MS, undefined, close));
}

const letGoOfMounts = (deps: EffectDeps, record: ContainerRecord): Promise<void> =>
  withDeadline('unmounting volumes', VOLUME_MS, undefined, () => closeMounts(deps, record));

/** A start that failed or was cut off: as if it had not been tried. */
export async function undo(deps: EffectDeps, work: Work): Promise<void> {
  const { record } = work;
  const session = deps.sessions.of(record.id);
  await session.quiet();
  const { task } = session;
  if (task) {
    await task.kill(9).catch(() => {});
    await withinDrain(deps, task.exited);
  }
  await everything(deps, record.id, {
    task: endTask(deps, record, session),
    network: closeNetwork(deps, record, session).then(() => letGoOfMounts(deps, record)),
  });
}

export async function remove(deps: EffectDeps, { record }: Work, order: RemoveOrder): Promise<void> {
  const session = deps.sessions.of(record.id);
  await session.quiet();
  await everything(deps, record.id, {
    task: endTask(deps, record, session),
    network: closeNetwork(deps, record, session).then(() => letGoOfMounts(deps, record)),
  });
  await everything(deps, record.id, {
    rootfs: deps.rootfs.remove(record.id),
    images: Promise.all(imageRoots(record).map((root) => deps.rootfs.remove(root))),
    log: deps.logs.remove(deps.logInfo(record)).then(() => removeDirectory(record.directory)),
  });
  if (order.volumes) await removeVolumes(deps, record);
}

/** Anonymous volumes that nobody else uses; one that stays is no reason to keep the container. */
async function removeVolumes(deps: EffectDeps, record: ContainerRecord): Promise<void> {
  for (const mount of record.mounts) {
    if (mount.type !== 'volume' || !mount.anonymous) continue;
    deps.volumes.release(mount.name, record.id);
    if (deps.volumeUsers(mount.name).some((id) => id !== record.id)) continue;
    await deps.volumes.remove(mount.name, { force: true }).catch((error: unknown) => {
      deps.log.warn({ err: error, volume: mount.name, container: record.id }, 'an anonymous volume stays');
    });
  }
}

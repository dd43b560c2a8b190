/** Finding containers again: each record is compared with what the runtime has, its chart starts where both agree. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { internal } from '../errors.ts';
import { nowNano } from '../lib/clock.ts';
import { isFullId } from '../lib/ids.ts';
import type { Reply } from '../reactor/ask.ts';
import type { Reactor } from '../reactor/reactor.ts';
import type { TaskProbe } from '../runtime/port.ts';
import type { EffectDeps } from './deps.ts';
import { removeDirectory } from './directory.ts';
import { undo } from './end.ts';
import type { ContainerContext, ContainerEvent } from './events.ts';
import type { containerMachine } from './machine.ts';
import { ownerOfRoot } from './mounting.ts';
import type { ContainerRecord } from './record.ts';
import type { Registry } from './registry.ts';
import { startsAtBoot } from './restart.ts';
import { parentsOf } from './sharers.ts';
import { bundleOf, taskSpec } from './start.ts';

/** The end of a process that nobody saw end. */
const LOST_EXIT_CODE = 255;
/** How many records are reconciled at once when the daemon starts. */
const PROBES_AT_ONCE = 16;
const PROBE_TRIES = 5;
const REBUILD_PAUSE_MS = 100;
const PROBE_PAUSE_MS = 500;
const RECOVERY_END_MS = 10_000;

const isAtRest = ({ phase }: ContainerRecord): boolean => phase === 'created' || phase === 'exited';

export interface RecoveryDeps {
  effects: EffectDeps;
  registry: Registry;
  reactor: Reactor;
  machine: typeof containerMachine;
  /** What no record names is somebody's when records were lost. */
  recordsLost: boolean;
}

export class Recovery {
  #deps: RecoveryDeps;
  /** Records of an earlier life of the daemon; those made since have their actors. */
  #inherited: ContainerRecord[];
  #done = Promise.withResolvers<void>();
  #booting: Promise<void> | undefined;

  constructor(deps: RecoveryDeps) {
    this.#deps = deps;
    this.#inherited = [...deps.registry.values()];
  }

  /** Resolves when every inherited container has its chart again. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  spawn(record: ContainerRecord, probe: TaskProbe): void {
    const { reactor, machine, effects, registry } = this.#deps;
    const lost = { exitCode: LOST_EXIT_CODE, exitedAtNano: nowNano(effects.clock), synthesised: true };
    reactor.spawn('container', record.id, machine, {
      input: { record, probe, lost },
      onFailure: () => {
        // It may have failed in its very first step, before `spawn` returned.
        const snapshot = reactor.get('container', record.id)?.getSnapshot();
        if (snapshot?.context) rejectAll(snapshot.context);
        // With a pause: one that fails again and again must not hold up all others.
        void delay(REBUILD_PAUSE_MS).then(() => this.#reconcile(registry.get(record.id) ?? record));
      },
    });
  }

  /** An error proves nothing: it is asked again before a container counts as lost. */
  async #probe(record: ContainerRecord): Promise<TaskProbe> {
    const { effects } = this.#deps;
    for (let attempt = 1; ; attempt++) {
      try {
        return await effects.runtime.probe(taskSpec(effects, record));
      } catch (error) {
        effects.log.error({ err: error, container: record.id, attempt }, 'a container could not be found again');
        if (attempt === PROBE_TRIES) return { found: false };
        await delay(PROBE_PAUSE_MS * attempt);
      }
    }
  }

  async #reconcile(record: ContainerRecord): Promise<void> {
    const { effects } = this.#deps;
    const probe = isAtRest(record) ? ({ found: false } as const) : await this.#probe(record);
    if (probe.found) {
      const session = effects.sessions.of(record.id);
      session.task = probe.task;
      session.frozen = probe.status === 'paused';
    }
    // Killed while it let go of an ended process: the chart starts from a clean place.
    else if (isAtRest(record) && existsSync(bundleOf(effects, record.id)))
      await undo(effects, { record, attempt: 0, send: () => {} }).catch((error: unknown) =>
        effects.log.warn({ err: error, container: record.id }, 'something of an ended container stays'),
      );
    this.spawn(record, probe);
  }

  boot(): Promise<void> {
    this.#booting = this.#boot();
    return this.#booting;
  }

  /** A daemon that is told to stop while it recovers finishes the recovery of its containers, or gives up waiting for it. */
  async ended(): Promise<void> {
    await Promise.race([this.#booting, delay(RECOVERY_END_MS, undefined, { ref: false })]);
  }

  async #boot(): Promise<void> {
    const { effects } = this.#deps;
    const waiting = [...this.#inherited];
    const restarts = waiting.filter((record) => record.phase === 'exited' && startsAtBoot(record));
    const work = async (): Promise<void> => {
      for (let record = waiting.shift(); record; record = waiting.shift()) {
        const { id } = record;
        await this.#reconcile(record).catch((error: unknown) =>
          effects.log.error({ err: error, container: id }, 'a container could not be recovered'),
        );
      }
    };
    await Promise.all(Array.from({ length: PROBES_AT_ONCE }, work));
    this.#inherited = [];
    if (this.#deps.recordsLost) return;
    await this.#sweep().catch((error: unknown) =>
      effects.log.warn({ err: error }, 'what dead containers left could not be swept'),
    );
    this.#done.resolve();
    this.#start(restarts);
  }

  /** Those that live in another one's namespaces come when that one is up. */
  #start(records: readonly ContainerRecord[]): void {
    const { registry } = this.#deps;
    for (const record of records) {
      const parents = parentsOf(record, (reference) => registry.find(reference)?.id).filter(
        (id) => registry.get(id)?.phase !== 'running',
      );
      if (!parents.length) {
        this.#startByPolicy(record);
        continue;
      }
      const stop = parents.map((id) =>
        registry.watch(id, (parent) => {
          if (parent && parent.phase !== 'running') return;
          stop.forEach((end) => end());
          if (parent) this.#startByPolicy(record);
        }),
      );
    }
  }

  #startByPolicy(record: ContainerRecord): void {
    const { effects, reactor } = this.#deps;
    const reply: Reply = {
      resolve: () => {},
      reject: (error) => effects.log.warn({ err: error, container: record.id }, 'a container did not start at boot'),
    };
    const event: ContainerEvent = { type: 'START', reply, byPolicy: true };
    reactor.get('container', record.id)?.send(event);
  }

  /** What is left of containers that have no record. Those that are being made right now have a name already. */
  async #sweep(): Promise<void> {
    const { effects, registry } = this.#deps;
    for (const id of await effects.runtime.list()) {
      if (registry.knows(id)) continue;
      await effects.runtime
        .cleanup(id, bundleOf(effects, id))
        .catch((error: unknown) =>
          effects.log.warn({ err: error, container: id }, 'an unknown container stays in the runtime'),
        );
    }
    for (const id of await effects.rootfs.list()) {
      if (registry.knows(ownerOfRoot(id))) continue;
      await effects.rootfs
        .remove(id)
        .catch((error: unknown) => effects.log.warn({ err: error, container: id }, 'an unknown root stays'));
    }
    for (const { id, record } of effects.creations.all()) {
      for (const name of record.volumes) await effects.volumes.remove(name, { force: true });
      effects.creations.delete(id);
    }
    const { dataRoot, execRoot } = effects.config;
    for (const directory of [join(dataRoot, 'containers'), join(execRoot, 'containers')]) {
      for (const id of await readdir(directory).catch((): string[] => [])) {
        if (!isFullId(id) || registry.knows(id)) continue;
        await removeDirectory(join(directory, id)).catch((error: unknown) =>
          effects.log.warn({ err: error, container: id }, 'a directory of an unknown container stays'),
        );
      }
    }
  }
}

/** The chart itself failed: whoever waits must not wait for ever. */
function rejectAll({ starters, stoppers, removers, freezers }: ContainerContext): void {
  const error = internal('the container’s state machine failed and was built anew, try again');
  for (const reply of [...starters, ...stoppers, ...removers, ...freezers]) reply.reject(error);
}

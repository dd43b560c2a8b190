/** Attaching to a container: what was logged, when asked for, then its streams as they go on. */
import type { Duplex } from 'node:stream';
import { drained } from '../api/stream.ts';
import { conflict } from '../errors.ts';
import { renderBatch } from '../logs/render.ts';
import type { Attachment, AttachOptions } from '../streams/broker.ts';
import type { EffectDeps } from './deps.ts';
import type { ContainerRecord } from './record.ts';

export interface ContainerAttach extends AttachOptions {
  /** Begin with the log. */
  logs: boolean;
  /** Go on with what comes; without it the log is all. */
  stream: boolean;
}

export interface AttachedContainer {
  serve(connection: Duplex): Promise<void>;
  /** Nobody will serve it. */
  cancel(): void;
}

/** Refuses at once what cannot be attached to. The client misses nothing from here on. */
export function attachTo(deps: EffectDeps, record: ContainerRecord, options: ContainerAttach): AttachedContainer {
  const { id, phase } = record;
  if (phase === 'paused') throw conflict(`container ${id} is paused, unpause the container before attach`);
  if (phase === 'restarting') throw conflict(`container ${id} is restarting, wait until the container is running`);
  if (phase === 'removing' || phase === 'dead') throw conflict(`container ${id} is marked for removal`);
  const attachment = options.stream
    ? deps.streamsOf(record).attach({ ...options, stdin: options.stdin && record.config.OpenStdin })
    : undefined;
  deps.publish(record, 'attach');
  return {
    cancel: () => attachment?.cancel(),
    async serve(connection) {
      if (options.logs)
        await replay(deps, record, options, connection).catch((error: unknown) => abandon(attachment, error));
      if (!attachment) return;
      if ((await attachment.serve(connection)) === 'detached') deps.publish(record, 'detach');
    },
  };
}

function abandon(attachment: Attachment | undefined, error: unknown): never {
  attachment?.cancel();
  throw error;
}

async function replay(
  deps: EffectDeps,
  record: ContainerRecord,
  { stdout, stderr, raw }: ContainerAttach,
  connection: Duplex,
): Promise<void> {
  const rendering = { raw: raw === true || record.config.Tty, timestamps: false, details: false };
  const options = { stdout, stderr, tail: -1, follow: false };
  const batches = deps.logs.batches(record.hostConfig.LogConfig, deps.logInfo(record), options, (batch) =>
    renderBatch(batch, rendering),
  );
  for await (const bytes of batches) {
    if (connection.destroyed) return;
    if (!connection.write(bytes) && !(await drained(connection))) return;
  }
}

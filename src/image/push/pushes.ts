/** Pushes under way, each an actor of its own that ends when its client leaves. */
import { toPromise } from 'xstate';
import { cancelled, invalid, notFound } from '../../errors.ts';
import { OPEN_ENDED, within } from '../../reactor/effect.ts';
import type { RoomDeps } from '../../reactor/room.ts';
import type { Image, RegistryAuth } from '../port.ts';
import { Feed, type Listener, message } from '../pull/view.ts';
import { familiar, familiarName, isNameOnly, parseReference, type Reference, repositoryName } from '../reference.ts';
import type { Descriptor } from '../store-port.ts';
import { pushActors, pushedLayerLogic, type PushDeps } from './actors.ts';
import { pushMachine } from './machine.ts';

export interface PushOptions {
  auth?: RegistryAuth;
  /** The image must be for it. */
  platform?: string;
  signal?: AbortSignal;
  /** Docker's JSON progress lines. */
  onProgress?: (line: object) => void;
}

export class Pushes {
  #deps: RoomDeps & PushDeps;
  #logic: typeof pushMachine;
  #count = 0;

  constructor(deps: RoomDeps & PushDeps) {
    this.#deps = deps;
    this.#logic = pushMachine.provide({
      actors: { ...pushActors(deps), layer: within(OPEN_ENDED, pushedLayerLogic(deps)) },
    });
  }

  /** A name without a tag means all tags that it has here. */
  async push(reference: string, options: PushOptions): Promise<void> {
    const ref = parseReference(reference);
    if (options.platform) this.#deps.catalog.get(reference, options.platform);
    options.onProgress?.(message(`The push refers to repository [${repositoryName(ref)}]`));
    if (ref.digest) throw invalid('cannot push a digest reference');
    const tags = this.#allTags(ref);
    const targets = isNameOnly(ref) ? tags : tags.filter((tag) => tag.ref.tag === ref.tag);
    if (targets.length === 0) throw notFound(`tag does not exist: ${familiar(ref)}`);
    for (const { ref: target, image } of targets) await this.#one(target, image, options);
  }

  #allTags(ref: Reference): { ref: Reference; image: Image }[] {
    const name = repositoryName(ref);
    const found = this.#deps.catalog.list().flatMap((image) =>
      image.repoTags
        .map(parseReference)
        .filter((tag) => repositoryName(tag) === name)
        .map((tag) => ({ ref: tag, image })),
    );
    if (found.length === 0) throw notFound(`An image does not exist locally with the tag: ${familiarName(ref)}`);
    return found;
  }

  async #one(ref: Reference, image: Image, { auth, signal, onProgress }: PushOptions): Promise<void> {
    signal?.throwIfAborted();
    const { reactor, content, clock } = this.#deps;
    const feed = new Feed(() => clock.now());
    if (onProgress) feed.listen(onProgress as Listener);
    const id = `${familiar(ref)} ${++this.#count}`;
    const lease = content.lease();
    const actor = reactor.spawn('push', id, this.#logic, { input: { ref, image, auth, feed, lease } });
    const cancel = (): void => actor.send({ type: 'CANCEL' });
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const outcome = (await toPromise(actor)) ?? { kind: 'cancelled' };
      if (outcome.kind === 'failed') throw outcome.error;
      if (outcome.kind === 'cancelled') throw cancelled('the push was cancelled');
      this.#report(ref, outcome.manifest, image, onProgress);
    } finally {
      signal?.removeEventListener('abort', cancel);
      lease.release();
      reactor.remove('push', id);
    }
  }

  #report(ref: Reference, { digest, size }: Descriptor, image: Image, onProgress: PushOptions['onProgress']): void {
    onProgress?.(message(`${ref.tag}: digest: ${digest} size: ${size}`));
    onProgress?.({ progressDetail: {}, aux: { Tag: ref.tag, Digest: digest, Size: size } });
    const attributes = { ...image.config.config?.Labels, name: familiarName(ref) };
    this.#deps.bus.publish({ topic: 'event', type: 'image', action: 'push', id: familiar(ref), attributes });
  }
}

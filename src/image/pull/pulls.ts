/**
 * Pulls under way: who asks for the same image at the same time, for the same platform and as the same user, shares one
 * actor, and the last one to leave cancels it.
 */
import { toPromise } from 'xstate';
import { asDaemonError, cancelled, forbidden } from '../../errors.ts';
import { OPEN_ENDED, within } from '../../reactor/effect.ts';
import type { RoomDeps } from '../../reactor/room.ts';
import type { Image, PullOptions } from '../port.ts';
import { parsePlatform, type Platform, platformOfHost, platformText } from '../manifest.ts';
import { canonical, familiar, familiarName, parseReference, type Reference, withDefaultTag } from '../reference.ts';
import { fingerprint } from '../registry/registries.ts';
import type { RegistrySession } from '../registry/session.ts';
import { pullError } from '../registry/wording.ts';
import { layerLogic, pullActors, type PullDeps } from './actors.ts';
import { pullMachine } from './machine.ts';
import type { PullOutcome } from './setup.ts';
import { Feed, type Listener, message } from './view.ts';

type Done = Extract<PullOutcome, { kind: 'done' }>;

interface Pull {
  feed: Feed;
  interested: number;
  outcome: Promise<PullOutcome>;
  cancel(): void;
}

export class Pulls {
  #deps: RoomDeps & PullDeps;
  #logic: typeof pullMachine;
  #host: Platform;
  #running = new Map<string, Pull>();
  #count = 0;

  constructor(deps: RoomDeps & PullDeps) {
    this.#deps = deps;
    this.#logic = pullMachine.provide({ actors: { ...pullActors(deps), layer: within(OPEN_ENDED, layerLogic(deps)) } });
    this.#host = platformOfHost(deps.host.architecture);
  }

  async pull(reference: string, options: PullOptions): Promise<Image> {
    const ref = withDefaultTag(parseReference(reference));
    checkIsNoScratch(ref);
    const { image, updated } = await this.#one(ref, options);
    options.onProgress?.(status(familiar(ref), updated));
    this.#warnOfPlatform(ref, options);
    return image;
  }

  /** Every tag of a repository, one after another. */
  async pullAll(ref: Reference, options: PullOptions): Promise<void> {
    checkIsNoScratch(ref);
    const signal = options.signal ?? new AbortController().signal;
    const list = (session: RegistrySession): Promise<string[]> => session.tags(signal);
    const tags = await this.#deps.registries.read(ref, options.auth, signal, list).catch((error: unknown) => {
      throw pullError(error, ref);
    });
    let updated = false;
    for (const tag of tags) updated = (await this.#one({ ...ref, tag }, options)).updated || updated;
    options.onProgress?.(status(familiarName(ref), updated));
  }

  /** An image that is no index may be for another platform than was asked for: it is here all the same, as with dockerd. */
  #warnOfPlatform(ref: Reference, { platform, onProgress }: PullOptions): void {
    try {
      if (platform) this.#deps.catalog.get(familiar(ref), platform);
    } catch (error) {
      const { code, message: why } = asDaemonError(error);
      if (code === 'platform') onProgress?.(message(`WARNING: ${why}`));
    }
  }

  async #one(ref: Reference, options: PullOptions): Promise<Done> {
    options.signal?.throwIfAborted();
    const platform = options.platform ? parsePlatform(options.platform, this.#host) : this.#host;
    const key = `${canonical(ref)} ${platformText(platform)} ${fingerprint(options.auth)}`;
    const pull = this.#running.get(key) ?? this.#begin(key, ref, platform, options);
    const outcome = await interest(pull, options);
    if (outcome.kind === 'failed') throw outcome.error;
    if (outcome.kind === 'cancelled') throw cancelled('the pull was cancelled');
    options.onProgress?.(message(`Digest: ${outcome.digest}`));
    return outcome;
  }

  #begin(key: string, ref: Reference, platform: Platform, { auth }: PullOptions): Pull {
    const { reactor, content, clock } = this.#deps;
    const feed = new Feed(() => clock.now());
    const id = `${familiar(ref)} ${platformText(platform)} ${++this.#count}`;
    const lease = content.lease();
    const input = { ref, platform, auth, feed, lease };
    const actor = reactor.spawn('pull', id, this.#logic, { input });
    const outcome = toPromise(actor)
      .then((output): PullOutcome => output ?? { kind: 'cancelled' })
      .catch((error: unknown): PullOutcome => ({ kind: 'failed', error: asDaemonError(error) }))
      .then((result) => {
        this.#running.delete(key);
        lease.release();
        reactor.remove('pull', id);
        if (result.kind === 'done') this.#publish(ref, result.image);
        else void this.#tidy(result);
        return result;
      });
    const pull: Pull = {
      feed,
      interested: 0,
      outcome,
      cancel: () => {
        if (this.#running.get(key) !== pull) return;
        this.#running.delete(key);
        actor.send({ type: 'CANCEL' });
      },
    };
    this.#running.set(key, pull);
    return pull;
  }

  /** Takes away what a pull that did not end well has unpacked; what it has fetched waits for the next try, unless the disk is full. */
  async #tidy(outcome: PullOutcome): Promise<void> {
    const { catalog, downloads, content, clock, log } = this.#deps;
    try {
      await downloads.left();
      await catalog.collect();
      const isDiskFull = outcome.kind === 'failed' && outcome.error.code === 'disk-full';
      if (isDiskFull) await content.sweepIngest(clock.now(), true);
    } catch (error) {
      log.warn({ err: error }, 'what a pull left could not be taken away');
    }
  }

  #publish(ref: Reference, image: Image): void {
    const attributes = { ...image.config.config?.Labels, name: familiarName(ref) };
    this.#deps.bus.publish({ topic: 'event', type: 'image', action: 'pull', id: familiar(ref), attributes });
  }
}

/** Listens to a pull until it ends or this one client leaves. */
async function interest(pull: Pull, { signal, onProgress }: PullOptions): Promise<PullOutcome> {
  const silence = onProgress ? pull.feed.listen(onProgress as Listener) : () => {};
  pull.interested++;
  const left = Promise.withResolvers<PullOutcome>();
  const leave = (): void => left.resolve({ kind: 'cancelled' });
  signal?.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([pull.outcome, left.promise]);
  } finally {
    signal?.removeEventListener('abort', leave);
    silence();
    if (--pull.interested === 0) pull.cancel();
  }
}

/** FROM has a meaning of its own for this name. */
function checkIsNoScratch(ref: Reference): void {
  if (familiarName(ref) === 'scratch') throw forbidden("'scratch' is a reserved name");
}

const status = (name: string, updated: boolean) =>
  message(`Status: ${updated ? 'Downloaded newer image' : 'Image is up to date'} for ${name}`);

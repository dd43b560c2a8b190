/** Images between this machine and registries: pull, push, inspection at the registry, login and search. */
import type { RoomDeps } from '../reactor/room.ts';
import type { Image, PullOptions, RegistryAuth } from './port.ts';
import { Pulls } from './pull/pulls.ts';
import { Pushes, type PushOptions } from './push/pushes.ts';
import type { Reference } from './reference.ts';
import { Downloads } from './registry/downloads.ts';
import { type DistributionInspect, inspectDistribution } from './registry/inspect.ts';
import { login, type LoginAnswer } from './registry/login.ts';
import { Registries, type RegistryTuning } from './registry/registries.ts';
import { search, type SearchOptions, type SearchResult } from './registry/search.ts';
import { Slots } from './registry/slots.ts';
import type { Catalog, ContentStore, LayerStore } from './store-port.ts';

export interface Transfers {
  /** Throws DaemonErrors in dockerd's words. */
  pull(reference: string, options: PullOptions): Promise<Image>;
  /** Every tag of the repository. */
  pullAll(ref: Reference, options: PullOptions): Promise<void>;
  /** A tag, or all tags that the repository has here. */
  push(reference: string, options: PushOptions): Promise<void>;
  distribution(reference: string, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<DistributionInspect>;
  login(auth: RegistryAuth, signal: AbortSignal): Promise<LoginAnswer>;
  search(term: string, options: SearchOptions): Promise<SearchResult[]>;
  stop(): Promise<void>;
}

export type TransferDeps = RoomDeps & {
  content: ContentStore;
  layers: LayerStore;
  catalog: Catalog;
  tuning?: RegistryTuning;
};

export function createTransfers(deps: TransferDeps): Transfers {
  const { config, clock, content } = deps;
  const registries = new Registries({ config, clock, tuning: deps.tuning });
  const downloads = new Downloads({
    content,
    writers: content.writers,
    slots: new Slots(() => config.maxConcurrentDownloads),
    retries: registries.retries,
  });
  const pulls = new Pulls({ ...deps, registries, downloads });
  const pushes = new Pushes({ ...deps, registries, slots: new Slots(() => config.maxConcurrentUploads) });
  return {
    pull: (reference, options) => pulls.pull(reference, options),
    pullAll: (ref, options) => pulls.pullAll(ref, options),
    push: (reference, options) => pushes.push(reference, options),
    distribution: (reference, auth, signal) => inspectDistribution(registries, reference, auth, signal),
    login: (auth, signal) => login(registries, auth, signal),
    search: (term, options) => search(registries, term, options),
    async stop() {
      await downloads.close();
      await registries.close();
    },
  };
}

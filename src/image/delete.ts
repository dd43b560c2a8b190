/**
 * `docker rmi`, decision by decision as dockerd takes them: a name removes a reference first, an id all references of an
 * image with one name; then the image goes, and its untagged parents with it, unless somebody needs them.
 */
import { conflict } from '../errors.ts';
import { shortId } from '../lib/ids.ts';
import type { ImageServices } from './services.ts';
import { publishImage } from './events.ts';
import { canonical, familiar, parseReference, type Reference, repositoryName, withDefaultTag } from './reference.ts';

export type DeleteRecord = { Untagged: string } | { Deleted: string };

interface Options {
  force: boolean;
  prune: boolean;
}

/** Reasons not to delete; hard ones stand against force. */
type Obstacle = 'child' | 'running' | 'reference' | 'stopped';
const HARD: readonly Obstacle[] = ['child', 'running'];

/** In dockerd's order, by full name. */
const referencesOf = ({ catalog }: ImageServices, id: string): Reference[] =>
  [...catalog.tagsOf(id), ...catalog.digestsOf(id)].sort().map((text) => parseReference(text));

export const isIdPrefix = (id: string, text: string): boolean =>
  id.startsWith(text) || id.slice('sha256:'.length).startsWith(text);

/** One tag at most, and all digests of the same repository. */
export function isSingleReference(references: readonly Reference[]): boolean {
  if (references.length <= 1) return true;
  const tags = references.filter((reference) => !reference.digest);
  const repositories = new Set(references.filter(({ digest }) => digest).map(repositoryName));
  if (tags.length > 1 || repositories.size !== 1) return false;
  return repositories.has(repositoryName(tags[0] ?? references[0]!));
}

function obstacleText(
  services: ImageServices,
  id: string,
  wanted: readonly Obstacle[],
): [Obstacle, string] | undefined {
  const users = services.users.using(id);
  const running = users.find((user) => user.running);
  const stopped = users.find((user) => !user.running);
  if (wanted.includes('child') && services.catalog.childrenOf(id).length) {
    return ['child', 'image has dependent child images'];
  }
  if (wanted.includes('running') && running) {
    return ['running', `image is being used by running container ${shortId(running.containerId)}`];
  }
  if (wanted.includes('reference') && referencesOf(services, id).length) {
    return ['reference', 'image is referenced in multiple repositories'];
  }
  if (wanted.includes('stopped') && stopped) {
    return ['stopped', `image is being used by stopped container ${shortId(stopped.containerId)}`];
  }
  return undefined;
}

function refuseIf(services: ImageServices, id: string, wanted: readonly Obstacle[]): void {
  const found = obstacleText(services, id, wanted);
  if (!found) return;
  const [obstacle, text] = found;
  const force = HARD.includes(obstacle) ? 'cannot be forced' : 'must be forced';
  throw conflict(`conflict: unable to delete ${shortId(id)} (${force}) - ${text}`, { code: `image-${obstacle}` });
}

function untag(services: ImageServices, id: string, reference: Reference, records: DeleteRecord[]): void {
  const { config } = services.catalog.get(id);
  services.catalog.untag(canonical(reference));
  publishImage(services.bus, 'untag', { id, config });
  records.push({ Untagged: familiar(reference) });
}

/** Deletes what `reference` names. Errors: notFound, conflict. */
export async function deleteImage(
  services: ImageServices,
  reference: string,
  options: Options,
): Promise<DeleteRecord[]> {
  const records = removeImage(services, reference, options);
  await services.store.durable();
  await services.catalog.collect();
  return records;
}

/**
 * Without a pause, so that nobody tags or uses the image between the checks and the deed. The caller awaits `durable`
 * and collects the content.
 */
export function removeImage(services: ImageServices, reference: string, options: Options): DeleteRecord[] {
  const { catalog } = services;
  const { id } = catalog.get(reference);
  const records: DeleteRecord[] = [];
  let references = referencesOf(services, id);
  if (!isIdPrefix(id, reference)) {
    const asked = parseReference(reference);
    const named = withDefaultTag(asked);
    const user = services.users.using(id)[0];
    if (!options.force && isSingleReference(references) && user) {
      throw conflict(
        `conflict: unable to remove repository reference "${familiar(asked)}" (must force) - container ${shortId(user.containerId)} is using its referenced image ${shortId(id)}`,
        { code: 'image-in-use' },
      );
    }
    references = removeName(services, id, named, records);
    if (references.length) return records;
    remove(services, id, { ...options, quiet: true }, records);
    return records;
  }
  if (isSingleReference(references)) {
    refuseIf(services, id, options.force ? HARD : ['child', 'running', 'stopped']);
    for (const each of references) untag(services, id, each, records);
  }
  remove(services, id, { ...options, quiet: false }, records);
  return records;
}

/** Removes one name; with the last tag of a repository its digests go too. Returns what is left. */
function removeName(services: ImageServices, id: string, named: Reference, records: DeleteRecord[]): Reference[] {
  const exact: Reference = named.digest ? { domain: named.domain, path: named.path, digest: named.digest } : named;
  untag(services, id, exact, records);
  const left = referencesOf(services, id);
  const same = left.filter((other) => repositoryName(other) === repositoryName(named));
  if (exact.digest || same.some(({ digest }) => !digest)) return left;
  for (const digest of same) untag(services, id, digest, records);
  return referencesOf(services, id);
}

/** `quiet` keeps an image that is needed instead of refusing. */
function remove(
  services: ImageServices,
  id: string,
  options: Options & { quiet: boolean },
  records: DeleteRecord[],
): void {
  const { catalog } = services;
  const wanted: Obstacle[] = options.force ? [...HARD] : ['child', 'running', 'reference', 'stopped'];
  const found = obstacleText(services, id, wanted);
  if (found) {
    const dangling = !referencesOf(services, id).length && !catalog.childrenOf(id).length;
    const used = found[0] === 'running' || found[0] === 'stopped';
    if (options.quiet && (!dangling || used)) return;
    refuseIf(services, id, wanted);
  }
  const { config, parent } = catalog.get(id);
  for (const reference of referencesOf(services, id)) untag(services, id, reference, records);
  const chains = catalog.forget(id);
  publishImage(services.bus, 'delete', { id, config });
  records.push({ Deleted: id }, ...chains.map((chain) => ({ Deleted: chain })));
  if (!options.prune || !parent || !catalog.find(parent)) return;
  remove(services, parent, { force: false, prune: true, quiet: true }, records);
}

/**
 * Names of images, as distribution/reference defines them: `[domain/]path[:tag][@digest]`, where a bare name means
 * Docker Hub's `docker.io/library/…`. Pure; every refusal is `invalid`, in the words of dockerd.
 */
import { invalid } from '../errors.ts';

export interface Reference {
  /** Registry host with its port: "docker.io", "localhost:5000". */
  readonly domain: string;
  /** Repository within the registry: "library/busybox". */
  readonly path: string;
  readonly tag?: string;
  /** "sha256:<64 hex>" or "sha512:<128 hex>". */
  readonly digest?: string;
}

export const DEFAULT_DOMAIN = 'docker.io';
export const DEFAULT_TAG = 'latest';
const OFFICIAL = 'library/';

const ALNUM = '[a-z0-9]+';
const COMPONENT = `${ALNUM}(?:(?:[._]|__|-+)${ALNUM})*`;
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const HOST = `(?:${LABEL}(?:\\.${LABEL})*|\\[(?:[a-fA-F0-9:]+)\\])`;
const NAME = `(?:(${HOST}(?::[0-9]+)?)/)?(${COMPONENT}(?:/${COMPONENT})*)`;
const TAG = '[\\w][\\w.-]{0,127}';
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const REFERENCE = new RegExp(`^${NAME}(?::(${TAG}))?(?:@(${DIGEST}))?$`);
const TAG_ONLY = new RegExp(`^${TAG}$`);
const DIGEST_LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

const refusal = (why = ''): Error => invalid(`invalid reference format${why}`, { code: 'reference' });

/** Fails unless the text is a digest of a known algorithm. */
export function checkDigest(digest: string): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  const length = DIGEST_LENGTHS[algorithm];
  if (length === undefined) throw invalid('unsupported digest algorithm', { code: 'digest' });
  if (hex.length !== length) throw invalid('invalid checksum digest length', { code: 'digest' });
  if (!/^[0-9a-f]+$/.test(hex) || digest.length !== algorithm.length + 1 + length)
    throw invalid('invalid checksum digest format', { code: 'digest' });
  return digest;
}

export const isDigest = (text: string): boolean =>
  /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/.test(text);

/** Splits off the registry: the first component is one when it has a dot, a port, an upper-case letter, or is localhost. */
function splitDomain(text: string): [domain: string, rest: string] {
  const slash = text.indexOf('/');
  const first = slash < 0 ? '' : text.slice(0, slash);
  const isDomain = slash > 0 && (/[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first);
  let [domain, rest] = isDomain ? [first, text.slice(slash + 1)] : [DEFAULT_DOMAIN, text];
  if (domain === 'index.docker.io') domain = DEFAULT_DOMAIN;
  if (domain === DEFAULT_DOMAIN && rest !== '' && !rest.includes('/')) rest = OFFICIAL + rest;
  return [domain, rest];
}

/** Parses what a user wrote into its full form. Throws `invalid`. */
export function parseReference(text: string): Reference {
  if (/^[a-f0-9]{64}$/.test(text))
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`, {
      code: 'reference',
    });
  const [domain, rest] = splitDomain(text);
  const path = rest.replace(/[:@].*$/s, '');
  if (path.toLowerCase() !== path) throw refusal(`: repository name (${path}) must be lowercase`);
  const match = REFERENCE.exec(`${domain}/${rest}`);
  if (!match || match[1] !== domain) throw refusal();
  if (match[2]!.length > 255) throw refusal(': repository name must not be more than 255 characters');
  const reference: Reference = { domain, path: match[2]! };
  return {
    ...reference,
    ...(match[3] === undefined ? {} : { tag: match[3] }),
    ...(match[4] === undefined ? {} : { digest: checkDigest(match[4]) }),
  };
}

/** "docker.io/library/x". */
export const repositoryName = (ref: Reference): string => `${ref.domain}/${ref.path}`;

/** The full form, by which the catalog knows a tag: "docker.io/library/x:latest", "…@sha256:…". */
export function canonical(ref: Reference): string {
  return repositoryName(ref) + (ref.tag ? `:${ref.tag}` : '') + (ref.digest ? `@${ref.digest}` : '');
}

/** The repository as people write it: "x", "someone/x", "localhost:5000/x". */
export function familiarName(ref: Reference): string {
  if (ref.domain !== DEFAULT_DOMAIN) return repositoryName(ref);
  const short = ref.path.startsWith(OFFICIAL) ? ref.path.slice(OFFICIAL.length) : ref.path;
  const name = short.includes('/') && ref.path.startsWith(OFFICIAL) ? ref.path : short;
  // A path whose first part looks like a registry would be read as that registry's.
  return splitDomain(name).join('/') === repositoryName(ref) ? name : repositoryName(ref);
}

/** As people write it, with tag and digest. */
export function familiar(ref: Reference): string {
  return familiarName(ref) + (ref.tag ? `:${ref.tag}` : '') + (ref.digest ? `@${ref.digest}` : '');
}

/** Adds ":latest" to a reference that has neither tag nor digest. */
export const withDefaultTag = (ref: Reference): Reference =>
  ref.tag || ref.digest ? ref : { ...ref, tag: DEFAULT_TAG };

/** Replaces tag and digest by what a `tag` query holds, which may be a digest. */
export function withTagOrDigest(ref: Reference, tagOrDigest: string): Reference {
  const { domain, path } = ref;
  if (tagOrDigest.includes(':')) return { domain, path, digest: checkDigest(tagOrDigest) };
  if (!TAG_ONLY.test(tagOrDigest)) throw invalid('invalid tag format', { code: 'reference' });
  return { domain, path, tag: tagOrDigest };
}

export const isNameOnly = (ref: Reference): boolean => ref.tag === undefined && ref.digest === undefined;

/** What a registry is asked for: the digest, which wins over a tag. */
export const tagOrDigest = (ref: Reference): string => ref.digest ?? ref.tag ?? DEFAULT_TAG;

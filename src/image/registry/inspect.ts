/** GET /distribution/{name}/json: what a reference means at its registry, without pulling it. */
import { invalid } from '../../errors.ts';
import { type ImageIndex, type ImageManifest, isImage, parseManifest } from '../manifest.ts';
import type { RegistryAuth } from '../port.ts';
import { isDigest, parseReference, tagOrDigest, withDefaultTag } from '../reference.ts';
import type { Descriptor } from '../store-port.ts';
import type { Registries } from './registries.ts';
import type { RegistrySession } from './session.ts';
import { inspectError } from './wording.ts';

type DescribedPlatform = NonNullable<Descriptor['platform']>;

export interface DistributionInspect {
  Descriptor: { mediaType: string; digest: string; size: number };
  Platforms: DescribedPlatform[];
}

export async function inspectDistribution(
  registries: Registries,
  reference: string,
  auth: RegistryAuth | undefined,
  signal: AbortSignal,
): Promise<DistributionInspect> {
  if (isDigest(reference)) throw invalid(`cannot lookup digest ${reference}: a repository name is needed`);
  const ref = withDefaultTag(parseReference(reference));
  try {
    return await registries.read(ref, auth, signal, async (session) => {
      const { bytes, descriptor } = await session.manifest(tagOrDigest(ref), signal);
      const document = parseManifest(bytes, descriptor.mediaType);
      const { digest, size } = descriptor;
      return {
        Descriptor: { mediaType: document.mediaType, digest, size },
        Platforms: await platformsOf(session, document, signal),
      };
    });
  } catch (thrown) {
    throw inspectError(thrown);
  }
}

async function platformsOf(
  session: RegistrySession,
  document: ImageIndex | ImageManifest,
  signal: AbortSignal,
): Promise<DescribedPlatform[]> {
  if (document.kind === 'index') return document.manifests.flatMap(({ platform }) => (platform ? [platform] : []));
  if (!isImage(document)) return [];
  const config = JSON.parse((await session.document(document.config, signal)).toString()) as Partial<DescribedPlatform>;
  const { architecture, os, variant } = config;
  if (typeof architecture !== 'string' || typeof os !== 'string') return [];
  return [{ architecture, os, ...(variant ? { variant } : {}) }];
}

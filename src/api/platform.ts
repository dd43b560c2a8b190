/** The platform that a request names. */
import { invalid } from '../errors.ts';
import { type ApiContext, text } from './kit.ts';

/** The JSON of an OCI platform, or "linux/amd64" as older clients write it; a list of one is a platform too. */
export function ociPlatform(c: ApiContext): string | undefined {
  const given = text(c, 'platform');
  if (!given?.startsWith('{') && !given?.startsWith('[')) return given;
  try {
    const parsed = [JSON.parse(given) as { os: string; architecture: string; variant?: string }].flat()[0];
    if (!parsed) return undefined;
    return [parsed.os, parsed.architecture, parsed.variant].filter(Boolean).join('/');
  } catch (error) {
    throw invalid('failed to parse platform', { cause: error });
  }
}

/** The API version of a request: from the path's prefix, or ours when there is none. */
import { invalid } from '../errors.ts';
import { API_VERSION, MIN_API_VERSION } from '../version.ts';
import { compareVersions } from './kit.ts';

export { API_VERSION, MIN_API_VERSION };

/** Scheme, authority and the version's segment; the lookahead keeps `/v1.51` alone a path of its own. */
const PREFIX = /^(?:https?:\/\/[^/]*)?\/v(\d+(?:\.\d+)+)(?=\/)/;

export const requestedVersion = (url: string): string | undefined => PREFIX.exec(url)?.[1];

/** The path that routes are matched on: without host, version and query, and with `//` as one slash (as dockerd redirects). */
export function routePath(request: Request): string {
  const { url } = request;
  const prefix = PREFIX.exec(url);
  const start = prefix ? prefix[0].length : url.indexOf('/', url.indexOf('://') + 3);
  const end = url.slice(start).search(/[?#]/);
  const path = end < 0 ? url.slice(start) : url.slice(start, start + end);
  return path.includes('//') ? path.replace(/\/{2,}/g, '/') : path;
}

/** Throws invalid in the words by which old clients find out what to ask for. */
export function checkVersion(version: string): string {
  if (version === API_VERSION) return version;
  if (compareVersions(version, MIN_API_VERSION) < 0)
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  if (compareVersions(version, API_VERSION) > 0)
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${API_VERSION}`);
  return version;
}

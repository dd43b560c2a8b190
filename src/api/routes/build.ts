/** Building by the classic API, and what belongs to the build cache. */
import { invalid } from '../../errors.ts';
import type { RegistryAuth } from '../../image/port.ts';
import { familiar, parseReference, withDefaultTag } from '../../image/reference.ts';
import { classicBuild } from '../../build/classic.ts';
import type { BuildKit } from '../../build/buildkit/front.ts';
import type { Builds } from '../../build/service.ts';
import { tracedBuild } from '../../build/traced.ts';
import type { RunLimits } from '../../build/types.ts';
import {
  type Api,
  type ApiContext,
  bodyStream,
  filtersOf,
  flag,
  hijack,
  integer,
  jsonStream,
  noContent,
  text,
} from '../kit.ts';

const PRUNE_FILTERS = ['until', 'id', 'parent', 'type', 'description', 'inuse', 'shared', 'private', 'unused-for'];

function json<T>(c: ApiContext, name: string, what: string): T | undefined {
  const value = text(c, name);
  if (value === undefined) return undefined;
  try {
    return (JSON.parse(value) as T | null) ?? undefined;
  } catch {
    throw invalid(`error reading ${what}: ${name} is not valid JSON`);
  }
}

const number = (c: ApiContext, name: string): Record<string, number> => {
  const value = integer(c, name);
  return value ? { [HOST_CONFIG[name]!]: value } : {};
};

const HOST_CONFIG: Record<string, string> = {
  memory: 'Memory', memswap: 'MemorySwap', cpushares: 'CpuShares', cpuperiod: 'CpuPeriod', cpuquota: 'CpuQuota', shmsize: 'ShmSize',
}; // prettier-ignore

function limitsOf(c: ApiContext): RunLimits {
  const words = (name: string, key: string): object => (text(c, name) ? { [key]: text(c, name) } : {});
  const ulimits = json<object[]>(c, 'ulimits', 'ulimit settings');
  const hosts = c.req.queries('extrahosts') ?? [];
  return {
    network: text(c, 'networkmode') ?? '',
    hostConfig: {
      ...Object.assign({}, ...Object.keys(HOST_CONFIG).map((name) => number(c, name))),
      ...words('cpusetcpus', 'CpusetCpus'),
      ...words('cpusetmems', 'CpusetMems'),
      ...words('cgroupparent', 'CgroupParent'),
      ...(ulimits ? { Ulimits: ulimits } : {}),
      ...(hosts.length ? { ExtraHosts: hosts } : {}),
    },
  };
}

/** X-Registry-Config: base64url JSON of addresses and credentials. What cannot be read counts as none, as in dockerd. */
function registryConfig(c: ApiContext): Record<string, RegistryAuth> {
  const header = c.req.header('x-registry-config');
  if (!header) return {};
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
    return value && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, RegistryAuth>) : {};
  } catch {
    return {};
  }
}

function authFor(auths: Record<string, RegistryAuth>, host: string): RegistryAuth | undefined {
  if (host === 'docker.io')
    return auths['https://index.docker.io/v1/'] ?? auths['docker.io'] ?? auths['index.docker.io'];
  return auths[host] ?? auths[`https://${host}`] ?? auths[`http://${host}`];
}

function requestOf(c: ApiContext) {
  const auths = registryConfig(c);
  return {
    tags: [
      ...new Set(
        (c.req.queries('t') ?? []).filter(Boolean).map((tag) => familiar(withDefaultTag(parseReference(tag)))),
      ),
    ],
    target: text(c, 'target') ?? '',
    buildArgs: json<Record<string, string | null>>(c, 'buildargs', 'build args') ?? {},
    labels: json<Record<string, string>>(c, 'labels', 'labels') ?? {},
    platform: text(c, 'platform'),
    noCache: flag(c, 'nocache'),
    pull: flag(c, 'pull'),
    cacheFrom: json<string[]>(c, 'cachefrom', 'cache sources') ?? [],
    keepContainers: !flag(c, 'forcerm') && !flag(c, 'rm', true),
    limits: limitsOf(c),
    auth: async (host: string) => authFor(auths, host),
  };
}

async function build(c: ApiContext, builds: Builds, buildkit: BuildKit): Promise<Response> {
  if (c.req.queries('securityopt')?.length) throw invalid('security options are not supported on linux');
  if (flag(c, 'squash')) throw invalid('squash is only supported with experimental mode');
  const version = text(c, 'version') ?? '1';
  if (version !== '1' && version !== '2') throw invalid(`invalid version ${JSON.stringify(version)}`);
  const common = {
    body: bodyStream(c),
    remote: text(c, 'remote') ?? '',
    dockerfile: text(c, 'dockerfile') ?? '',
    buildId: text(c, 'buildid') ?? '',
    gone: c.get('gone'),
    request: requestOf(c),
  };
  if (version === '2') return jsonStream(c, tracedBuild(buildkit, { ...common, session: text(c, 'session') ?? '' }));
  return jsonStream(c, await classicBuild(builds, { ...common, quiet: flag(c, 'q') }));
}

/** BuildKit's clients take the connection over and speak HTTP/2 on it. */
const TAKEN_OVER = { contentType: 'application/grpc' };

export function buildRoutes(api: Api, builds: Builds, buildkit: BuildKit): void {
  api.post('/grpc', (c) => hijack(c, TAKEN_OVER, (connection) => buildkit.serve(connection)));

  api.post('/session', (c) => {
    const { headers } = c.env.incoming;
    return hijack(c, TAKEN_OVER, (connection) => buildkit.serveSession(connection, headers));
  });

  api.post('/build', (c) => build(c, builds, buildkit));

  api.post('/build/cancel', (c) => {
    const id = text(c, 'id');
    if (!id) throw invalid('build ID not provided');
    builds.cancel(id);
    return noContent(c);
  });

  api.post('/build/prune', async (c) => {
    const keepBytes = integer(c, 'reserved-space') ?? integer(c, 'max-used-space') ?? integer(c, 'keep-storage') ?? 0;
    const { deleted, bytes } = await builds.prune({
      all: flag(c, 'all'),
      keepBytes,
      filters: filtersOf(c, PRUNE_FILTERS),
    });
    return c.json({ CachesDeleted: deleted.length ? deleted : null, SpaceReclaimed: bytes });
  });
}

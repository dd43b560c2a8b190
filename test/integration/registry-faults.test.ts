/** Hostile and broken registries: a clear error, nothing half done, and the next pull works. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, statfsSync, utimesSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mount, umount } from '../../src/host/ffi.ts';
import { checkStore } from '../../src/image/fsck.ts';
import { parseReference } from '../../src/image/reference.ts';
import { createTransfers } from '../../src/image/transfers.ts';
import { encodeHeader, tarHeader } from '../../src/tar/header.ts';
import { type FaultyRegistry, type Interceptor, sendBlob, startFaultyRegistry } from '../support/faulty-registry.ts';
import { eventually } from '../support/eventually.ts';
import { buildImage, type BuiltImage, digestOf, imageOf, tarOf } from '../support/fixture-image.ts';
import { testTransfers } from '../support/transfers.ts';

const LAYER_BYTES = 3 << 20;

/** One big layer that does not compress, and a small one. */
async function makeImage(): Promise<BuiltImage> {
  const big = await tarOf([{ name: 'big', content: randomBytes(LAYER_BYTES) }]);
  return buildImage({ layers: [big, await tarOf([{ name: 'small', content: 'small' }])] });
}

let registry: FaultyRegistry;
let elsewhere: FaultyRegistry;
let machine: Awaited<ReturnType<typeof testTransfers>>;
let reference: string;

/** Only for registries that do not answer: a slow machine must not look like one. */
const IMPATIENT = { headersMs: 500, stallMs: 500 };

beforeAll(async () => {
  registry = await startFaultyRegistry(await makeImage());
  elsewhere = await startFaultyRegistry(registry.image);
});
afterAll(() => Promise.all([registry.stop(), elsewhere.stop()]));
beforeEach(async () => {
  machine = await testTransfers({ config: { maxDownloadAttempts: 3 } });
  reference = `${registry.host}/image:latest`;
});
afterEach(async () => {
  registry.intercept = undefined;
  elsewhere.intercept = undefined;
  registry.requests = [];
  elsewhere.requests = [];
  await machine.dispose();
});

const bigLayer = () => registry.image.layers[0]!;
const bigBytes = (): Buffer => registry.image.blobs.get(bigLayer().digest)!;
const isBigLayer = (url: string): boolean => url.endsWith(bigLayer().digest);
const onLayer =
  (answer: Interceptor): Interceptor =>
  (request, response) =>
    isBigLayer(request.url) ? answer(request, response) : false;
const onManifest =
  (answer: (response: ServerResponse) => unknown): Interceptor =>
  (request, response) =>
    request.url.includes('/manifests/') ? void answer(response) : false;
const manifestIs = (document: object, type = registry.image.manifest.mediaType) =>
  onManifest((response) => response.writeHead(200, { 'content-type': type }).end(JSON.stringify(document)));
const original = () => JSON.parse(registry.image.blobs.get(registry.image.manifest.digest)!.toString());

/** Bytes without end, as fast as they are taken. */
function endless(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write(Buffer.alloc(1 << 20)));
  };
  response.on('drain', more);
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  more();
}

async function expectNothingThere(): Promise<void> {
  expect(machine.catalog.list()).toEqual([]);
  expect([...machine.deps.reactor.entries('pull')]).toEqual([]);
  expect(machine.deps.events('image')).toEqual([]);
  // Another layer of the same image may have been on its way when the pull ended.
  await eventually(async () => {
    await machine.catalog.collect();
    return machine.content.digests().length + machine.layers.all().length === 0;
  });
}

const faults: [name: string, fault: () => Interceptor, error: RegExp, kind: string, impatient?: boolean][] = [
  [
    'a layer of other bytes',
    () => onLayer((request, response) => sendBlob(request, response, randomBytes(bigLayer().size))),
    /filesystem layer verification failed for digest sha256:/,
    'internal',
  ],
  [
    'a layer without end',
    () => onLayer((_, response) => endless(response)),
    /more than the \d+ bytes of its descriptor/,
    'internal',
  ],
  [
    'a layer that ends too early, whatever is tried',
    () =>
      onLayer(
        (request, response) => (
          request.headers.range ? response.destroy() : sendBlob(request, response, bigBytes().subarray(0, 1 << 20)),
          true
        ),
      ),
    /unexpected EOF|connection reset/,
    'internal',
  ],
  [
    'half a layer that looks whole',
    () => onLayer((request, response) => sendBlob(request, response, bigBytes().subarray(0, bigLayer().size / 2))),
    /unexpected EOF after \d+ of \d+ bytes|unexpected HTTP status: 416/,
    'internal',
  ],
  [
    'a layer of another size than its manifest says',
    () => {
      const [big, small] = original().layers;
      return manifestIs({ ...original(), layers: [{ ...big, size: big.size - 1 }, small] });
    },
    /more than the \d+ bytes of its descriptor/,
    'internal',
  ],
  [
    'a page in place of a layer',
    () =>
      onLayer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Welcome</html>')),
    /unexpected EOF after 20 of \d+ bytes/,
    'internal',
  ],
  [
    'a manifest of schema 1',
    () =>
      manifestIs(
        { schemaVersion: 1, name: 'image', fsLayers: [] },
        'application/vnd.docker.distribution.manifest.v1+prettyjws',
      ),
    /manifest version 2, schema 1 is not supported/,
    'invalid',
  ],
  [
    'a layer that stalls',
    () =>
      onLayer(
        (_, response) => void response.writeHead(200, { 'content-length': bigLayer().size }).write(Buffer.alloc(10)),
      ),
    /stopped sending/,
    'internal',
    true,
  ],
  ['a registry that never answers', () => onManifest(() => {}), /timeout awaiting response headers/, 'internal', true],
  ['a manifest without end', () => onManifest(endless), /larger than 4194304 bytes/, 'internal'],
  [
    'a manifest with both layers and manifests (CVE-2021-41190)',
    () => manifestIs({ ...original(), manifests: [] }),
    /expected manifest but found/,
    'invalid',
  ],
  [
    'a login page',
    () =>
      onManifest((response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Welcome</html>')),
    /expected a manifest but received text\/html/,
    'internal',
  ],
  [
    'a manifest that is no JSON',
    () => onManifest((response) => response.writeHead(200).end('{"schemaVersion":')),
    /not JSON/,
    'invalid',
  ],
  [
    'a layer named by a path (CVE-2024-3727)',
    () => manifestIs({ ...original(), layers: [{ ...original().layers[0], digest: 'sha256:../../../../etc/passwd' }] }),
    /invalid checksum digest/,
    'invalid',
  ],
  [
    'a manifest that hides a layer of its config',
    () => manifestIs({ ...original(), layers: original().layers.slice(1) }),
    /1 layers but 2 diff ids/,
    'invalid',
  ],
  [
    'errors without end',
    () => onLayer((_, response) => response.writeHead(503).end()),
    /unexpected HTTP status: 503/,
    'internal',
  ],
  [
    'too many requests, for an hour',
    () => onManifest((response) => response.writeHead(429, { 'retry-after': '3600' }).end()),
    /toomanyrequests/,
    'unavailable',
  ],
  [
    'redirects in a circle',
    () => onLayer((request, response) => response.writeHead(307, { location: request.url }).end()),
    /stopped after 10 redirects/,
    'internal',
  ],
  [
    'a redirect into a file',
    () => onLayer((_, response) => response.writeHead(307, { location: 'file:///etc/passwd' }).end()),
    /redirect from http:\/\/ to file:\/\/ refused/,
    'internal',
  ],
  [
    'an image that does not exist, or is secret',
    () =>
      onManifest((response) =>
        response
          .writeHead(403, { 'content-type': 'application/json' })
          .end('{"errors":[{"code":"DENIED","message":"no"}]}'),
      ),
    /pull access denied for .*\/image, repository does not exist or may require 'docker login': denied: no/,
    'notFound',
  ],
];

describe('a pull', () => {
  it.each(faults)('survives %s', async (_, fault, message, kind, impatient = false) => {
    registry.intercept = fault();
    const { content, layers, catalog, deps } = machine;
    const tuning = { backoffMs: 5, ...(impatient ? { limits: IMPATIENT } : {}) };
    const transfers = createTransfers({ ...deps, content, layers, catalog, tuning });
    const error = await transfers.pull(reference, {}).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    await transfers.stop();
    expect(error).toMatchObject({ kind, message: expect.stringMatching(message) });
    expect(registry.requests.length).toBeLessThan(40);
    await expectNothingThere();
    registry.intercept = undefined;
    const { image } = await machine.pull(reference);
    expect(image.id).toBe(registry.image.config.digest);
  });

  it('refuses a layer that unpacks to something else than its diff id', async () => {
    const { image } = registry;
    registry.image = buildImage({ layers: [await tarOf([{ name: 'x', content: 'x' }])] });
    const config = registry.image.config;
    const swapped = buildImage({ layers: [await tarOf([{ name: 'swapped', content: 'swapped' }])] });
    registry.image.blobs.set(swapped.layers[0]!.digest, swapped.blobs.get(swapped.layers[0]!.digest)!);
    registry.intercept = manifestIs({ ...original(), config, layers: swapped.layers });
    try {
      await expect(machine.pull(reference)).rejects.toThrow(/diff ?id|digest/i);
      await expectNothingThere();
      expect(readdirSync(join(machine.root, 'overlay2')).filter((name) => name.length > 10)).toEqual([]);
      expect(readdirSync(join(machine.root, 'overlay2/new'))).toEqual([]);
    } finally {
      registry.image = image;
    }
  });

  it('goes on where a broken connection left it, and where the last daemon left it', async () => {
    let broken = 0;
    registry.intercept = onLayer((request, response) => {
      if (++broken > 2) return false;
      const from = Number(/\d+/.exec(request.headers.range ?? '0')![0]);
      response.writeHead(from ? 206 : 200, {
        'content-length': bigLayer().size - from,
        ...(from ? { 'content-range': `bytes ${from}-${bigLayer().size - 1}/${bigLayer().size}` } : {}),
      });
      response.write(bigBytes().subarray(from, from + (1 << 20)), () => response.destroy());
    });
    await machine.pull(reference);
    const ranges = registry.requests.filter(({ url }) => isBigLayer(url)).map(({ headers }) => headers.range);
    expect(ranges).toHaveLength(3);
    expect(ranges[0]).toBeUndefined();
    for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d*-$/);

    const later = await testTransfers();
    try {
      writeFileSync(later.content.ingestPath(bigLayer().digest), bigBytes().subarray(0, 2 << 20));
      registry.intercept = undefined;
      registry.requests = [];
      await later.pull(reference);
      expect(registry.requests.find(({ url }) => isBigLayer(url))!.headers.range).toBe(`bytes=${2 << 20}-`);
    } finally {
      await later.dispose();
    }
  });

  it('begins anew when what was left is rotten, and where the registry knows no ranges', async () => {
    const path = machine.content.ingestPath(bigLayer().digest);
    writeFileSync(path, randomBytes(1 << 20));
    await machine.pull(reference);
    expect(existsSync(path)).toBe(false);
    const later = await testTransfers();
    try {
      writeFileSync(later.content.ingestPath(bigLayer().digest), randomBytes(1 << 20));
      registry.intercept = onLayer((_, response) => response.writeHead(200).end(bigBytes()));
      await later.pull(reference);
    } finally {
      await later.dispose();
    }
  });

  it('keeps what it fetched whole for the next one, in this life of the daemon or the next, and only for a while', async () => {
    const isSmallLayer = (url: string): boolean => url.endsWith(registry.image.layers[1]!.digest);
    const directory = mkdtempSync(join(tmpdir(), 'lives-'));
    const bigRequests = () => registry.requests.filter(({ url, method }) => isBigLayer(url) && method === 'GET').length;
    const life = async (work: (store: Awaited<ReturnType<typeof testTransfers>>) => Promise<void>): Promise<void> => {
      registry.requests = [];
      const store = await testTransfers({ directory, config: { maxDownloadAttempts: 2 } });
      await work(store).finally(() => store.dispose());
    };
    try {
      await life(async (store) => {
        let bigIsWhole = false;
        registry.intercept = ({ url }, response) => {
          if (!isSmallLayer(url)) return false;
          const refuse = (): void => {
            bigIsWhole = store.layers.has(registry.image.diffIds[0]!);
            if (bigIsWhole) response.writeHead(400).end();
            else setTimeout(refuse, 5);
          };
          refuse();
        };
        await expect(store.pull(reference)).rejects.toThrow('400');
        expect(bigIsWhole).toBe(true);
        // What was unpacked for nothing goes by itself.
        await eventually(() => store.layers.all().length === 0 && store.content.digests().length === 0);
        registry.intercept = undefined;
        await store.pull(reference);
        expect(bigRequests()).toBe(1);
      });
      // Its records are lost: as if it had been killed before the image was there.
      await life(async (store) => {
        expect(store.catalog.list()).toEqual([]);
        await store.pull(reference);
        expect(bigRequests()).toBe(0);
      });
      const blob = join(directory, 'image/oci/blobs/sha256', bigLayer().digest.slice(7));
      utimesSync(blob, new Date(0), new Date(0));
      await life(async (store) => {
        await store.pull(reference);
        expect(bigRequests()).toBe(1);
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('gives the space of a full disk back, and what fits can be pulled after that', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'disk-'));
    mount('tmpfs', directory, 'tmpfs', 0, 'size=24m');
    const free = (): number => statfsSync(directory).bavail * statfsSync(directory).bsize;
    const small = await testTransfers({ directory });
    const first = registry.image;
    try {
      const before = free();
      const zeros = gzipSync(Buffer.alloc(64 << 20));
      const header = encodeHeader(tarHeader({ name: 'bomb', size: 10 * 2 ** 30 }));
      const bomb = Buffer.concat([gzipSync(header), ...Array.from({ length: 160 }, () => zeros)]);
      const large = await tarOf([{ name: 'large', content: randomBytes(40 << 20) }]);
      const images = [
        imageOf([{ blob: bomb, diffId: digestOf(Buffer.from('never reached')) }]),
        buildImage({ layers: [large] }),
      ];
      for (const image of images) {
        registry.image = image;
        await expect(small.pull(reference)).rejects.toMatchObject({ code: 'disk-full' });
        await eventually(() => free() > before - (1 << 20), { what: 'the space is given back' });
        expect(small.catalog.list()).toEqual([]);
      }
      registry.image = first;
      expect((await small.pull(reference)).image.id).toBe(first.config.digest);
      expect(await checkStore(directory, small.deps.store)).toEqual([]);
    } finally {
      registry.image = first;
      await small.dispose();
      umount(directory);
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('gets a foreign layer from where its descriptor says, without a password', async () => {
    const layer = { ...original().layers[1], urls: ['http://127.0.0.1:1/gone', `${elsewhere.url}/kept/here`] };
    const small = registry.image.blobs.get(layer.digest)!;
    const serve = (mediaType: string): Interceptor => {
      const manifest = { ...original(), layers: [original().layers[0], { ...layer, mediaType }] };
      return (request, response) => {
        if (request.url.endsWith(layer.digest)) return void response.writeHead(404).end();
        return manifestIs(manifest)(request, response);
      };
    };
    elsewhere.intercept = ({ url }, response) => (url === '/kept/here' ? void response.end(small) : false);
    registry.intercept = serve('application/vnd.oci.image.layer.v1.tar+gzip');
    await expect(machine.pull(reference)).rejects.toThrow('404');
    expect(elsewhere.requests).toEqual([]);
    registry.intercept = serve('application/vnd.oci.image.layer.nondistributable.v1.tar+gzip');
    const { image } = await machine.pull(reference, { auth: { username: 'user', password: 'secret' } });
    expect(image.config.rootfs.diff_ids).toEqual(registry.image.diffIds);
    expect(elsewhere.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/kept/here', undefined],
    ]);
  });

  it('tries again after errors that pass', async () => {
    const failures = new Map<string, number>();
    registry.intercept = (request, response) => {
      const count = (failures.get(request.url) ?? 0) + 1;
      failures.set(request.url, count);
      if (request.url === '/v2/' || count > 2) return false;
      response.writeHead(count === 1 ? 503 : 429, { 'retry-after': '0' }).end();
    };
    const { image, statuses } = await machine.pull(reference);
    expect(image.id).toBe(registry.image.config.digest);
    expect(statuses.some((text) => text.includes('Retrying in'))).toBe(true);
  });

  it('fetches a layer once however many images want it, and no more at a time than it may', async () => {
    const layers = await Promise.all([1, 2, 3].map((n) => tarOf([{ name: `n${n}`, content: randomBytes(1000) }])));
    const [image, other] = ['a', 'b'].map((label) => buildImage({ layers, config: { Labels: { label } } }));
    const first = registry.image;
    registry.image = { ...image!, blobs: new Map([...image!.blobs, ...other!.blobs]) };
    const narrow = await testTransfers({ config: { maxConcurrentDownloads: 1 } });
    const layerDigests = new Set(image!.layers.map(({ digest }) => digest));
    let open = 0;
    let most = 0;
    registry.intercept = ({ url }, response) => {
      if (!layerDigests.has(url.split('/').at(-1)!)) return false;
      most = Math.max(most, ++open);
      response.on('close', () => open--);
      return false;
    };
    try {
      const names = [image!, other!].map(({ manifest }) => `${registry.host}/x@${manifest.digest}`);
      const [{ statuses }] = await Promise.all([narrow.pull(names[0]!), narrow.pull(names[1]!)]);
      expect(statuses.filter((text) => text.endsWith(': Waiting'))).toHaveLength(2);
      expect(narrow.catalog.list()).toHaveLength(2);
      const fetched = registry.requests.filter(({ url }) => layerDigests.has(url.split('/').at(-1)!));
      expect(fetched).toHaveLength(3);
      expect(most).toBe(1);
    } finally {
      registry.image = first;
      await narrow.dispose();
    }
  });

  it('asks for no manifest again that has not changed', async () => {
    await machine.pull(reference);
    registry.requests = [];
    await machine.pull(reference);
    expect(registry.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /v2/',
      'HEAD /v2/image/manifests/latest',
    ]);
  });

  it('asks a mirror first, and goes on when it fails', async () => {
    const config = { registryMirrors: [elsewhere.url, registry.url] };
    const { content, layers, catalog, deps } = machine;
    const transfers = createTransfers({ ...deps, config: { ...deps.config, ...config }, content, layers, catalog });
    elsewhere.intercept = onManifest((response) => response.writeHead(404).end());
    try {
      const image = await transfers.pull('image', { auth: { username: 'u', password: 'p' } });
      expect(image.repoTags).toEqual(['image:latest']);
      expect(elsewhere.requests.map(({ url }) => url)).toContain('/v2/library/image/manifests/latest');
      for (const { headers } of [...elsewhere.requests, ...registry.requests])
        expect(headers.authorization).toBeUndefined();
      // So does who lists tags or only looks.
      registry.intercept = ({ url }, response) =>
        url.endsWith('/tags/list') ? response.end('{"tags":["latest"]}') : false;
      await transfers.pullAll(parseReference('image'), {});
      const { signal } = new AbortController();
      const { digest } = (await transfers.distribution('image', undefined, signal)).Descriptor;
      expect(digest).toBe(registry.image.manifest.digest);
    } finally {
      await transfers.stop();
    }
  });
});

describe('a search', () => {
  const { signal } = new AbortController();
  const found = (name: string, star_count: number) => ({ name, star_count, is_official: false, description: 'd' });

  it('asks the registry that the term names, and filters', async () => {
    registry.intercept = ({ url }, response) =>
      url.startsWith('/v1/search?q=box&n=25')
        ? response.end(JSON.stringify({ results: [found('box', 3), found('bigbox', 30)] }))
        : false;
    const results = await machine.transfers.search(`${registry.host}/box`, { stars: 10, signal });
    expect(results).toEqual([{ ...found('bigbox', 30), is_automated: false }]);
    await expect(machine.transfers.search('x', { limit: 101, signal })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(machine.transfers.search('127.0.0.1:1/x', { signal })).rejects.toThrow('connection refused');
    registry.intercept = (_, response) => response.end('<html>');
    await expect(machine.transfers.search(`${registry.host}/x`, { signal })).rejects.toThrow(
      'did not send search results',
    );
  });
});

describe('credentials', () => {
  const auth = { username: 'user', password: 'open sesame' };
  const basic = `Basic ${Buffer.from('user:open sesame').toString('base64')}`;
  const challenge = (realm: string) => ({ 'www-authenticate': `Bearer realm="${realm}",service="test"` });

  /** Bearer tokens by scope, as Docker Hub has them. */
  const tokenServer: Interceptor = (request, response) => {
    if (request.url.startsWith('/token'))
      return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"t0ken"}');
    if (request.headers.authorization === 'Bearer t0ken') return false;
    response.writeHead(401, challenge(`${registry.url}/token`)).end();
  };

  it('become a token for just this repository', async () => {
    registry.intercept = tokenServer;
    await machine.pull(reference, { auth });
    const asked = registry.requests.filter(({ url }) => url.startsWith('/token'));
    expect(asked).toHaveLength(1);
    expect(new URL(asked[0]!.url, registry.url).searchParams.get('scope')).toBe('repository:image:pull');
    expect(asked[0]!.headers.authorization).toBe(basic);
    const others = registry.requests.filter(({ url }) => !url.startsWith('/token'));
    for (const { headers } of others) expect([undefined, 'Bearer t0ken']).toContain(headers.authorization);
  });

  it('may be an identity token, which a login gives', async () => {
    const bodies: string[] = [];
    registry.intercept = (request, response) => {
      if (!request.url.startsWith('/token')) return tokenServer(request, response);
      const offline = request.url.includes('offline_token=true');
      request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
      request.on('end', () =>
        response.end(JSON.stringify({ access_token: 't0ken', ...(offline ? { refresh_token: 'identity' } : {}) })),
      );
    };
    const { signal } = new AbortController();
    const { IdentityToken } = await machine.transfers.login({ ...auth, serveraddress: registry.host }, signal);
    expect(IdentityToken).toBe('identity');
    await machine.pull(reference, { auth: { identitytoken: IdentityToken } });
    expect(Object.fromEntries(new URLSearchParams(bodies[0]))).toMatchObject({
      grant_type: 'refresh_token',
      refresh_token: 'identity',
      scope: 'repository:image:pull',
    });
  });

  it('that do not suffice are told like an image that does not exist', async () => {
    registry.intercept = (request, response) => {
      if (request.url.startsWith('/token') || request.url === '/v2/') return tokenServer(request, response);
      const refused = `Bearer realm="${registry.url}/token",scope="repository:image:pull",error="insufficient_scope"`;
      response.writeHead(401, { 'www-authenticate': refused }).end();
    };
    await expect(machine.pull(reference)).rejects.toMatchObject({
      kind: 'notFound',
      message: `pull access denied for ${registry.host}/image, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`,
    });
  });

  it('stay behind when the registry sends us to another host (CVE-2020-15157)', async () => {
    registry.intercept = (request, response) => {
      if (tokenServer(request, response) !== false) return;
      if (!isBigLayer(request.url)) return false;
      response.writeHead(307, { location: `${elsewhere.url}${request.url}` }).end();
    };
    await machine.pull(reference, { auth });
    expect(elsewhere.requests).toHaveLength(1);
    expect(elsewhere.requests[0]!.headers.authorization).toBeUndefined();
  });

  it('are not given to another host that asks for them (CVE-2020-15157)', async () => {
    registry.intercept = onLayer((request, response) =>
      response.writeHead(307, { location: `${elsewhere.url}${request.url}` }).end(),
    );
    elsewhere.intercept = (_, response) => void response.writeHead(401, challenge(`${elsewhere.url}/token`)).end();
    await expect(machine.pull(reference, { auth })).rejects.toMatchObject({ kind: 'unauthorized' });
    expect(elsewhere.requests.filter(({ url }) => url.startsWith('/token'))).toEqual([]);
    for (const { headers } of elsewhere.requests) expect(headers.authorization).toBeUndefined();
    await expectNothingThere();
  });

  it('are not asked for again and again', async () => {
    registry.intercept = (request, response) => {
      if (request.url.startsWith('/token'))
        return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"stale"}');
      response.writeHead(401, challenge(`${registry.url}/token`)).end();
    };
    await expect(machine.pull(reference, { auth })).rejects.toMatchObject({ kind: 'unauthorized' });
    expect(registry.requests.length).toBeLessThan(6);
    await expectNothingThere();
  });
});

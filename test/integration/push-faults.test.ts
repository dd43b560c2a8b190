/** Pushes to registries that refuse, stumble, lie or send us elsewhere. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type FaultyRegistry, type Interceptor, startFaultyRegistry } from '../support/faulty-registry.ts';
import { buildImage, type BuiltImage, digestOf, tarOf } from '../support/fixture-image.ts';
import { testTransfers } from '../support/transfers.ts';

let source: FaultyRegistry;
let target: FaultyRegistry;
let elsewhere: FaultyRegistry;
let built: BuiltImage;
let machine: Awaited<ReturnType<typeof testTransfers>>;
let name: string;

const auth = { username: 'user', password: 'open sesame' };
const basic = `Basic ${Buffer.from('user:open sesame').toString('base64')}`;
const empty = (): BuiltImage => ({ ...built, blobs: new Map() });

beforeAll(async () => {
  built = buildImage({ layers: [await tarOf([{ name: 'f', content: randomBytes(600_000) }])] });
  [source, target, elsewhere, machine] = await Promise.all([
    startFaultyRegistry(built),
    startFaultyRegistry(empty()),
    startFaultyRegistry(empty()),
    testTransfers(),
  ]);
  const { image } = await machine.pull(`${source.host}/image`);
  name = `${target.host}/image:latest`;
  await machine.catalog.tag(image.id, name);
});
afterAll(() => Promise.all([source.stop(), target.stop(), elsewhere.stop(), machine.dispose()]));
beforeEach(() => {
  for (const registry of [target, elsewhere]) {
    registry.requests = [];
    registry.intercept = undefined;
  }
});

/** Takes everything; `over` goes first. */
const accepting =
  (over: Interceptor = () => false, location = '/upload/1?state=x'): Interceptor =>
  (request, response) => {
    if (over(request, response) !== false) return;
    if (request.method === 'POST') return void response.writeHead(202, { location }).end();
    if (request.method === 'PUT') return void request.on('end', () => response.writeHead(201).end());
    return false;
  };
const puts = (registry: FaultyRegistry) => registry.requests.filter(({ method }) => method === 'PUT');

describe('a push', () => {
  it('keeps what a Location says, and sends the whole blob and the very manifest', async () => {
    const bodies = new Map<string, Buffer>();
    target.intercept = accepting((request) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => bodies.set(`${request.method} ${request.url}`, Buffer.concat(chunks)));
      return false;
    });
    await machine.push(name);
    for (const { digest } of [built.layers[0]!, built.config])
      expect(bodies.get(`PUT /upload/1?state=x&digest=${encodeURIComponent(digest)}`)).toEqual(built.blobs.get(digest));
    expect(bodies.get('PUT /v2/image/manifests/latest')).toEqual(built.blobs.get(built.manifest.digest));
  });

  it('tries again after errors that pass', async () => {
    let failures = 0;
    target.intercept = accepting((request, response) => {
      if (request.method !== 'PUT' || !request.url.startsWith('/upload') || ++failures > 2) return false;
      request.on('end', () => response.writeHead(503).end());
    });
    expect((await machine.push(name)).at(-1)).toHaveProperty('aux.Digest', built.manifest.digest);
  });

  it('sends layers side by side, and no more at a time than it may', async () => {
    const layers = await Promise.all([1, 2, 3].map((n) => tarOf([{ name: `n${n}`, content: randomBytes(1000) }])));
    const several = buildImage({ layers });
    const first = source.image;
    source.image = several;
    const narrow = await testTransfers({ config: { maxConcurrentUploads: 2 } });
    const isLayer = (url: string): boolean =>
      several.layers.some(({ digest }) => url.includes(encodeURIComponent(digest)));
    const held: (() => void)[] = [];
    let [left, most] = [layers.length, 0];
    // Answered only when as many are on their way as may be.
    target.intercept = accepting((request, response) => {
      if (request.method !== 'PUT' || !isLayer(request.url)) return false;
      most = Math.max(
        most,
        held.push(() => response.writeHead(201).end()),
      );
      if (held.length === Math.min(2, left)) left -= held.splice(0).map((answer) => answer()).length;
    });
    try {
      const { image } = await narrow.pull(`${source.host}/image`);
      await narrow.catalog.tag(image.id, name);
      const lines = await narrow.push(name);
      expect([left, most]).toEqual([0, 2]);
      expect(lines.filter(({ status }) => status === 'Waiting')).toHaveLength(1);
    } finally {
      source.image = first;
      await narrow.dispose();
    }
  });

  it('is forbidden in the words of the registry', async () => {
    target.intercept = accepting((request, response) => {
      if (request.method !== 'POST') return false;
      const body = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}';
      response.writeHead(403, { 'content-type': 'application/json' }).end(body);
    });
    await expect(machine.push(name)).rejects.toMatchObject({
      kind: 'forbidden',
      message: 'denied: requested access to the resource is denied',
    });
    expect([...machine.deps.reactor.entries('push')]).toEqual([]);
  });

  it('takes no password along to the store that a registry sends it to', async () => {
    elsewhere.intercept = accepting();
    const demanding: Interceptor = ({ headers }, response) =>
      headers.authorization === basic
        ? false
        : response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    target.intercept = accepting(demanding, `${elsewhere.url}/upload/9`);
    await machine.push(name, auth);
    expect(puts(elsewhere)).toHaveLength(2);
    for (const { headers } of elsewhere.requests) expect(headers.authorization).toBeUndefined();
    expect(puts(target).map(({ headers }) => headers.authorization)).toEqual([basic]);
  });

  it('does not believe a registry that stored something else', async () => {
    const other = `sha256:${'0'.repeat(64)}`;
    target.intercept = accepting((request, response) => {
      if (request.method !== 'PUT' || !request.url.includes('/manifests/')) return false;
      request.on('end', () => response.writeHead(201, { 'docker-content-digest': other }).end());
    });
    await expect(machine.push(name)).rejects.toThrow(`stored the manifest as ${other}`);
  });

  it('leaves a foreign layer where its descriptor says, and sends the very manifest', async () => {
    const document = JSON.parse(built.blobs.get(built.manifest.digest)!.toString());
    const mediaType = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';
    document.layers[0] = { ...document.layers[0], mediaType, urls: ['https://example.invalid/layer'] };
    const bytes = Buffer.from(JSON.stringify(document));
    source.intercept = ({ url }, response) =>
      url.includes('/manifests/')
        ? response.writeHead(200, { 'content-type': built.manifest.mediaType }).end(bytes)
        : false;
    const other = await testTransfers();
    try {
      const { image } = await other.pull(`${source.host}/image:foreign`);
      await other.catalog.tag(image.id, name);
      target.intercept = accepting();
      const lines = await other.push(name);
      expect(lines.map(({ status }) => status)).toContain('Skipped foreign layer');
      expect(target.requests.filter(({ url }) => url.includes(document.layers[0].digest))).toEqual([]);
      expect(lines.at(-1)).toMatchObject({ aux: { Digest: digestOf(bytes) } });
    } finally {
      source.intercept = undefined;
      await other.dispose();
    }
  });

  it('ends when its client leaves', async () => {
    const leaving = new AbortController();
    target.intercept = accepting((request) => (request.method === 'PUT' ? leaving.abort() : false));
    const push = machine.transfers.push(name, { signal: leaving.signal });
    await expect(push).rejects.toMatchObject({ kind: 'cancelled' });
    expect([...machine.deps.reactor.entries('push')]).toEqual([]);
  });

  it('is refused for what is not here', async () => {
    await expect(machine.push(`${target.host}/image:other`)).rejects.toMatchObject({
      kind: 'notFound',
      message: `tag does not exist: ${target.host}/image:other`,
    });
    await expect(machine.push(`${name.replace(':latest', '')}@${built.manifest.digest}`)).rejects.toThrow(
      'cannot push a digest reference',
    );
  });
});

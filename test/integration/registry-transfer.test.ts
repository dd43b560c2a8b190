import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer, request as forward } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadImages } from '../../src/image/archive/load.ts';
import { saveImages } from '../../src/image/archive/save.ts';
import { checkStore } from '../../src/image/fsck.ts';
import type { Endpoint } from '../../src/image/registry/endpoints.ts';
import { Transport } from '../../src/image/registry/transport.ts';
import {
  blobBytes,
  buildImage,
  busyboxLayer,
  digestOf,
  HOST_ARCHITECTURE,
  manifestBytes,
  oddLayers,
  pushBusybox,
  pushImage,
  pushIndex,
  pushOdd,
  tarOf,
} from '../support/fixture-image.ts';
import { PASSWORD, startRegistry, type TestRegistry, USER } from '../support/registry.ts';
import { testTransfers } from '../support/transfers.ts';

const auth = { username: USER, password: PASSWORD };
const short = (digest: string): string => digest.slice(7, 19);
const manifestOf = async (registry: TestRegistry, reference: string) =>
  JSON.parse((await manifestBytes(registry, reference)).toString());

let plain: TestRegistry;
let secret: TestRegistry;
/** Each with one of the two, and one that talks only to whose certificate it knows. */
let withPasswords: TestRegistry;
let withTls: TestRegistry;
let knowing: TestRegistry;
let machine: Awaited<ReturnType<typeof testTransfers>>;

beforeAll(async () => {
  [plain, secret, withPasswords, withTls, knowing, machine] = await Promise.all([
    startRegistry(),
    startRegistry({ tls: true, htpasswd: true }),
    startRegistry({ htpasswd: true }),
    startRegistry({ tls: true }),
    startRegistry({ tls: true, clientCertificate: true }),
    testTransfers(),
  ]);
});
afterAll(() =>
  Promise.all([plain, secret, withPasswords, withTls, knowing].map((each) => each.stop()).concat(machine.dispose())),
);

describe('pull', () => {
  it('brings an image of several layers, and says what dockerd says', async () => {
    const built = await pushOdd(plain, 'some/odd:1');
    const reference = `${plain.host}/some/odd:1`;
    const { image, statuses } = await machine.pull(reference);
    expect(image.id).toBe(built.config.digest);
    expect(image.repoTags).toEqual([reference]);
    expect(image.repoDigests).toEqual([`${plain.host}/some/odd@${built.manifest.digest}`]);
    expect(statuses[0]).toBe('1: Pulling from some/odd');
    expect(statuses.slice(-2)).toEqual([
      `Digest: ${built.manifest.digest}`,
      `Status: Downloaded newer image for ${reference}`,
    ]);
    for (const { digest } of built.layers) {
      const own = statuses.filter((text) => text.startsWith(short(digest))).map((text) => text.slice(14));
      const order = ['Pulling fs layer', 'Verifying Checksum', 'Download complete', 'Pull complete'];
      expect(own.filter((text) => order.includes(text))).toEqual(order);
    }
    expect(readFileSync(join(machine.layers.path(built.diffIds[3]!), 'odd/becomes-file'), 'utf8')).toBe('file now');
    expect(readFileSync(machine.content.path(built.manifest.digest))).toEqual(built.blobs.get(built.manifest.digest));
    expect(readdirSync(join(machine.root, 'image/oci/ingest'))).toEqual([]);
    expect(machine.deps.events('image')).toEqual(['pull']);

    const again = await machine.pull(reference);
    expect(again.statuses.at(-1)).toBe(`Status: Image is up to date for ${reference}`);
    expect(again.statuses.filter((text) => text.endsWith('Already exists'))).toEqual([]);
  });

  it('chooses the platform out of an index, and refuses one that is not there', async () => {
    const layer = await tarOf([{ name: 'other', content: 'other' }]);
    const native = buildImage({ layers: [await busyboxLayer()], config: { Labels: { platform: 'native' } } });
    const other = buildImage({ layers: [layer], architecture: 's390x' });
    const index = await pushIndex(plain, 'multi:latest', [
      { image: other, platform: { os: 'linux', architecture: 's390x' } },
      { image: native, platform: { os: 'linux', architecture: HOST_ARCHITECTURE } },
    ]);
    const reference = `${plain.host}/multi`;
    const { image, statuses } = await machine.pull(reference);
    expect(image.id).toBe(native.config.digest);
    expect(statuses).toContain(`Digest: ${index.digest}`);
    expect((await machine.pull(reference, { platform: 'linux/s390x' })).image.id).toBe(other.config.digest);
    await expect(machine.pull(reference, { platform: 'linux/riscv64' })).rejects.toMatchObject({
      kind: 'notFound',
      message: 'no matching manifest for linux/riscv64 in the manifest list entries',
    });
    const inspected = await machine.transfers.distribution(reference, undefined, new AbortController().signal);
    expect(inspected.Descriptor).toEqual(index);
    expect(inspected.Platforms.map(({ architecture }) => architecture)).toEqual(['s390x', HOST_ARCHITECTURE]);
  });

  it('tells what cannot be had of an index in the stream, and warns of an image that is for another platform', async () => {
    const lines: object[] = [];
    const onProgress = (line: object): unknown => lines.push(line);
    const other = buildImage({ layers: [await tarOf([{ name: 'o', content: 'o' }])], architecture: 's390x' });
    await pushIndex(plain, 'foreign:1', [{ image: other, platform: { os: 'linux', architecture: 's390x' } }]);
    await expect(machine.transfers.pull(`${plain.host}/foreign:1`, { onProgress })).rejects.toMatchObject({
      kind: 'notFound',
      code: 'platform',
    });
    expect(lines).toEqual([{ status: 'Pulling from foreign', id: '1' }]);
    await pushImage(plain, 'only:1', other);
    const { statuses } = await machine.pull(`${plain.host}/only:1`, { platform: 'linux/arm64' });
    expect(statuses.at(-1)).toBe(
      `WARNING: image with reference ${plain.host}/only:1 was found but its platform (linux/s390x) does not match the specified platform (linux/arm64)`,
    );
    expect((await machine.pull(`${plain.host}/only:1`)).statuses.at(-1)).toMatch(/^Status: Image is up to date/);
  });

  it('is none of what is no image, which can be inspected all the same', async () => {
    const chart = buildImage({ layers: [await tarOf([{ name: 'Chart.yaml', content: 'name: x' }])] });
    const manifest = JSON.parse(chart.blobs.get(chart.manifest.digest)!.toString());
    manifest.config.mediaType = 'application/vnd.cncf.helm.config.v1+json';
    const bytes = Buffer.from(JSON.stringify(manifest));
    chart.blobs.set(digestOf(bytes), bytes);
    chart.manifest = { ...chart.manifest, digest: digestOf(bytes), size: bytes.length };
    await pushImage(plain, 'chart:1', chart);
    const reference = `${plain.host}/chart:1`;
    await expect(machine.pull(reference)).rejects.toThrow('unsupported media type application/vnd.cncf.helm.config.v1');
    const inspected = await machine.transfers.distribution(reference, undefined, new AbortController().signal);
    expect(inspected).toEqual({ Descriptor: chart.manifest, Platforms: [] });
  });

  it('goes by digest without moving a tag, and brings all tags when asked', async () => {
    const built = await pushBusybox(plain, 'tags:one', { config: { Labels: { n: '1' } }, format: 'docker' });
    await pushBusybox(plain, 'tags:two', { config: { Labels: { n: '2' } } });
    const reference = `${plain.host}/tags@${built.manifest.digest}`;
    const { image } = await machine.pull(reference);
    expect(image.repoTags).toEqual([]);
    expect(image.repoDigests).toEqual([reference]);
    await machine.transfers.pullAll({ domain: plain.host, path: 'tags' }, {});
    expect(machine.catalog.list().flatMap(({ repoTags }) => repoTags)).toEqual(
      expect.arrayContaining([`${plain.host}/tags:one`, `${plain.host}/tags:two`]),
    );
    await expect(machine.transfers.pullAll({ domain: plain.host, path: 'nothing' }, {})).rejects.toMatchObject({
      kind: 'notFound',
      message: `repository ${plain.host}/nothing not found: name unknown: repository name not known to registry`,
    });
  });

  it('is one transfer for all who ask at the same time, and ends with the last who leaves', async () => {
    await pushBusybox(plain, 'shared:latest', {
      layers: [await tarOf([{ name: 'shared', content: randomBytes(1000) }])],
    });
    const reference = `${plain.host}/shared`;
    const before = machine.deps.events('image').length;
    const leaving = new AbortController();
    const layer = short((await manifestOf(plain, 'shared:latest')).layers[0].digest);
    const pulls = [
      machine.pull(reference),
      machine.pull(reference, { signal: leaving.signal }),
      machine.pull(reference),
    ];
    expect([...machine.deps.reactor.entries('pull')]).toHaveLength(1);
    leaving.abort();
    const [first, left, third] = await Promise.allSettled(pulls);
    expect(left).toMatchObject({ status: 'rejected', reason: { kind: 'cancelled' } });
    for (const pull of [first!, third!]) {
      const { statuses } = (pull as PromiseFulfilledResult<Awaited<(typeof pulls)[0]>>).value;
      expect(statuses).toEqual(
        expect.arrayContaining([
          'latest: Pulling from shared',
          `${layer}: Download complete`,
          `${layer}: Pull complete`,
        ]),
      );
    }
    expect(machine.deps.events('image').slice(before)).toEqual(['pull']);
    const alone = new AbortController();
    const cancelled = machine.pull(`${plain.host}/some/odd:1`, { signal: alone.signal });
    alone.abort();
    await expect(cancelled).rejects.toMatchObject({ kind: 'cancelled' });
    expect([...machine.deps.reactor.entries('pull')]).toHaveLength(0);
  });

  it('words the refusals as dockerd does', async () => {
    await pushBusybox(plain, 'busybox:latest');
    await expect(machine.pull(`${plain.host}/busybox:none`)).rejects.toMatchObject({
      kind: 'notFound',
      message: `manifest for ${plain.host}/busybox:none not found: manifest unknown: manifest unknown`,
    });
    await expect(machine.pull('127.0.0.1:1/x')).rejects.toThrow(
      'Get "http://127.0.0.1:1/v2/": connect: connection refused',
    );
    await expect(machine.pull(`${plain.host}/Busybox`)).rejects.toMatchObject({ kind: 'invalid' });
    await expect(machine.pull('scratch')).rejects.toMatchObject({ kind: 'forbidden' });
  });
});

describe('an image', () => {
  it.each<[string, () => TestRegistry, 'oci' | 'docker']>([
    ['without anything', () => plain, 'docker'],
    ['with passwords', () => withPasswords, 'oci'],
    ['with TLS', () => withTls, 'docker'],
    ['with TLS and passwords', () => secret, 'oci'],
    ['with TLS that asks for a certificate', () => knowing, 'docker'],
  ])('goes to a registry %s and comes back, every byte of it', async (door, registryOf, format) => {
    const registry = registryOf();
    const labels = { config: { Labels: { door } }, format };
    const built = await pushOdd(registry, 'first/of-all:1', labels);
    const reference = `${registry.host}/first/of-all:1`;
    const user = registry.authorization ? auth : undefined;
    const far = await testTransfers();
    const near = await testTransfers();
    try {
      if (registry.client) await expect(far.pull(reference)).rejects.toThrow();
      if (registry.ca) for (const one of [far, near]) await one.trust(registry);
      if (user) await expect(far.pull(reference)).rejects.toThrow('no basic auth credentials');
      const { image } = await far.pull(reference, { auth: user });
      const target = `${registry.host}/then/here:2`;
      await far.catalog.tag(image.id, target);
      await far.push(target, user);
      expect(await manifestBytes(registry, 'then/here:2')).toEqual(built.blobs.get(built.manifest.digest));
      const blobs = [built.config, ...built.layers];
      for (const { digest } of blobs) expect(digestOf(await blobBytes(registry, 'then/here', digest))).toBe(digest);
      await near.pull(target, { auth: user });
      for (const { digest } of [built.manifest, ...blobs])
        expect(readFileSync(near.content.path(digest))).toEqual(built.blobs.get(digest));
      // Other tools read the store, and what is saved of it keeps the manifest that the image came with.
      await near.catalog.settled();
      const archive = join(near.root, 'saved.tar');
      const services = { ...near, ...near.deps, hostPlatform: { os: 'linux', architecture: 'amd64' } } as never;
      await writeFile(archive, saveImages(services, [target]));
      for (const from of [`oci:${join(near.root, 'image/oci')}:${target}`, `oci-archive:${archive}`]) {
        const copy = mkdtempSync(join(near.root, 'copy-'));
        execFileSync('skopeo', ['--insecure-policy', 'copy', '-q', '--preserve-digests', from, `dir:${copy}`]);
        const { config, layers } = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8'));
        expect([config, ...layers].map(({ digest }) => digest)).toEqual(blobs.map(({ digest }) => digest));
      }
      near.catalog.forget(image.id);
      const bytes = createReadStream(archive);
      for await (const _ of loadImages(services, bytes, { quiet: true }));
      expect(near.catalog.get(target).manifestDigest).toBe(built.manifest.digest);
      await near.catalog.collect();
      expect(await checkStore(near.root, near.deps.store)).toEqual([]);
    } finally {
      await far.dispose();
      await near.dispose();
    }
  });
});

describe('push', () => {
  it('sends what was pulled byte for byte, to a registry with TLS and passwords', async () => {
    const built = await pushOdd(plain, 'some/odd:1');
    const { image } = await machine.pull(`${plain.host}/some/odd:1`);
    const target = `${secret.host}/copy/odd:v1`;
    await machine.catalog.tag(image.id, target);
    await expect(machine.push(target)).rejects.toThrow('no basic auth credentials');
    const lines = await machine.push(target, auth);
    expect(lines[0]!.status).toBe(`The push refers to repository [${secret.host}/copy/odd]`);
    expect(lines.filter(({ status }) => status === 'Pushed').map(({ id }) => id)).toEqual(
      expect.arrayContaining(built.diffIds.map(short)),
    );
    const { digest, size } = built.manifest;
    expect(lines.slice(-2)).toEqual([
      { status: `v1: digest: ${digest} size: ${size}` },
      { progressDetail: {}, aux: { Tag: 'v1', Digest: digest, Size: size } },
    ]);
    expect(await manifestBytes(secret, 'copy/odd:v1')).toEqual(built.blobs.get(digest));
    const again = await machine.push(target, auth);
    expect(again.filter(({ status }) => status === 'Layer already exists')).toHaveLength(4);
    const other = await testTransfers();
    try {
      await other.trust(secret);
      const pulled = await other.pull(target, { auth });
      expect(pulled.image.id).toBe(image.id);
      for (const blob of [built.manifest, built.config, ...built.layers])
        expect(digestOf(readFileSync(other.content.path(blob.digest)))).toBe(blob.digest);
    } finally {
      await other.dispose();
    }
    expect(machine.deps.events('image').at(-1)).toBe('push');
  });

  it('sends a layer in parts through a proxy that takes no larger body', async () => {
    const asked: string[] = [];
    const proxy = createServer((request, response) => {
      const size = Number(request.headers['content-length'] ?? 0);
      if (size > 400_000) asked.push(`${request.method} ${request.headers['content-range'] ?? 'whole'}`);
      if (size > 600_000) return void request.resume().on('end', () => response.writeHead(413).end());
      const { method, headers } = request;
      const onward = forward(`${plain.url}${request.url}`, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      onward.on('error', () => response.destroy());
      request.pipe(onward);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const large = await tarOf([{ name: 'large', content: randomBytes(1_500_000) }]);
      const built = await pushBusybox(plain, 'parts/from:1', { layers: [large] });
      const { image } = await machine.pull(`${plain.host}/parts/from:1`);
      const host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      await machine.catalog.tag(image.id, `${host}/parts/to:1`);
      await machine.push(`${host}/parts/to:1`);
      const part = 512 << 10;
      expect(asked).toEqual([
        'PUT whole',
        `PATCH 0-${2 * part - 1}`,
        `PATCH 0-${part - 1}`,
        `PATCH ${part}-${2 * part - 1}`,
        `PATCH ${2 * part}-${built.layers[0]!.size - 1}`,
      ]);
      expect(await manifestBytes(plain, 'parts/to:1')).toEqual(built.blobs.get(built.manifest.digest));
    } finally {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    }
  });

  it('mounts layers that another repository of the registry has', async () => {
    await pushBusybox(plain, 'mount/from:latest', { config: { Labels: { mount: '' } } });
    const { image } = await machine.pull(`${plain.host}/mount/from`);
    await machine.catalog.tag(image.id, `${plain.host}/mount/to:latest`);
    const lines = await machine.push(`${plain.host}/mount/to:latest`);
    expect(lines.some(({ status }) => status?.startsWith('Mounted from '))).toBe(true);
  });

  it('makes a manifest for an image that came without one', async () => {
    const layer = await tarOf([{ name: 'made', content: 'here' }]);
    await machine.unpack(layer);
    const built = buildImage({ layers: [layer], compression: 'none' });
    await machine.content.write(built.blobs.get(built.config.digest)!);
    const image = await machine.catalog.add({ configDigest: built.config.digest, blobs: built.layers });
    await machine.catalog.tag(image.id, `${plain.host}/made:latest`);
    await machine.push(`${plain.host}/made:latest`);
    const manifest = JSON.parse((await manifestBytes(plain, 'made:latest')).toString());
    expect(manifest.config.digest).toBe(image.id);
    expect(machine.catalog.get(image.id).repoDigests[0]).toMatch(`${plain.host}/made@sha256:`);
    await expect(machine.push(`${plain.host}/nothing:latest`)).rejects.toMatchObject({
      kind: 'notFound',
      message: `An image does not exist locally with the tag: ${plain.host}/nothing`,
    });
  });
});

describe('a proxy', () => {
  it('of the environment carries what does not go to this machine', async () => {
    const asked: string[] = [];
    const proxy = createServer().on('connect', (request, client, head) => {
      asked.push(request.url!);
      const server = connect(Number(new URL(secret.url).port), '127.0.0.1', () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        server.write(head);
        server.pipe(client).pipe(server);
      });
      for (const socket of [client, server]) socket.on('error', () => client.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    const behind = await testTransfers({ config: { insecureRegistries: ['registry.test'] } });
    try {
      const built = await pushBusybox(secret, 'proxied:latest', { layers: await oddLayers() });
      expect((await behind.pull('registry.test/proxied', { auth })).image.id).toBe(built.config.digest);
      expect(new Set(asked)).toEqual(new Set(['registry.test:443']));
    } finally {
      vi.unstubAllEnvs();
      await behind.dispose();
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    }
  });
});

describe('login', () => {
  const { signal } = new AbortController();

  it('tells right passwords from wrong ones', async () => {
    const serveraddress = secret.host;
    expect(await machine.transfers.login({ ...auth, serveraddress }, signal)).toEqual({
      Status: 'Login Succeeded',
      IdentityToken: '',
    });
    await expect(machine.transfers.login({ ...auth, password: 'wrong', serveraddress }, signal)).rejects.toMatchObject({
      kind: 'unauthorized',
    });
  });

  it('takes no certificate that nobody vouches for, where the registry is not a local one', async () => {
    const transport = new Transport({ userAgent: 'test' });
    const url = new URL('/v2/', secret.url);
    const strict = { origin: secret.url, prefix: '', mirror: false, insecure: false, tls: { ca: [] } };
    const send = (endpoint: Endpoint) => transport.send(endpoint, { method: 'GET', url, signal });
    try {
      await expect(send(strict)).rejects.toThrow('tls: failed to verify certificate');
      expect((await send({ ...strict, tls: { ca: [secret.ca!] } })).status).toBe(401);
    } finally {
      await transport.close();
    }
  });
});

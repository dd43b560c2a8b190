import { describe, expect, it } from 'vitest';
import {
  checkIsImage,
  choosePlatform,
  type ImageIndex,
  MEDIA,
  parseManifest,
  parsePlatform,
  platformMatches,
  platformText,
} from '../../src/image/manifest.ts';

const digest = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;
const config = { mediaType: MEDIA.ociConfig, digest: digest(1), size: 10 };
const layer = { mediaType: MEDIA.ociLayerGzip, digest: digest(2), size: 20 };
const image = { schemaVersion: 2, mediaType: MEDIA.ociManifest, config, layers: [layer] };
const parse = (document: unknown, type?: string) => parseManifest(Buffer.from(JSON.stringify(document)), type);
const host = { os: 'linux', architecture: 'amd64' };

describe('manifests', () => {
  it('reads the four kinds', () => {
    expect(parse(image)).toEqual({ kind: 'image', mediaType: MEDIA.ociManifest, config, layers: [layer] });
    expect(parse({ ...image, mediaType: undefined }, `${MEDIA.ociManifest}; charset=utf-8`).kind).toBe('image');
    expect(
      parse({
        schemaVersion: 2,
        mediaType: MEDIA.dockerManifest,
        config: { ...config, mediaType: MEDIA.dockerConfig },
        layers: [],
      }).kind,
    ).toBe('image');
    for (const type of [MEDIA.ociIndex, MEDIA.dockerList])
      expect(parse({ schemaVersion: 2, manifests: [] }, type)).toEqual({
        kind: 'index',
        mediaType: type,
        manifests: [],
      });
  });

  it('refuses what could be both an index and a manifest (CVE-2021-41190)', () => {
    const both = { ...image, manifests: [] };
    expect(() => parse(both)).toThrow('expected manifest but found');
    expect(() => parse({ ...both, mediaType: undefined })).toThrow('expected index but found');
    expect(() => parse({ ...both, mediaType: MEDIA.ociIndex })).toThrow('expected index but found');
    expect(() => parse(image, MEDIA.ociIndex)).toThrow(`should be '${MEDIA.ociIndex}'`);
  });

  it.each([
    ['a string', 'invalid manifest: not an object'],
    [{ ...image, schemaVersion: 1 }, 'schema 1 is not supported'],
    [{ ...image, layers: [{ ...layer, size: -1 }] }, 'layers[0] has no valid size'],
    [{ ...image, layers: [{ ...layer, digest: 'sha256:../../x' }] }, 'invalid checksum digest'],
    [{ ...image, layers: [{ ...layer, mediaType: 'text/html' }] }, 'unsupported media type text/html'],
    [{ ...image, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } }, 'not a container image'],
    [{ ...image, mediaType: 'application/json' }, 'unsupported media type application/json'],
    [{ ...image, layers: Array(513).fill(layer) }, 'more than 512 layers'],
  ])('refuses %j', (document, message) => {
    expect(() => {
      const parsed = parse(document);
      if (parsed.kind === 'image') checkIsImage(parsed);
    }).toThrow(message);
  });

  it('tells what is no image only to who wants one: a registry is asked for charts and signatures, too', () => {
    const chart = { ...image, config: { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' } };
    expect(parse(chart)).toMatchObject({ kind: 'image', layers: [layer] });
  });
});

describe('platforms', () => {
  const entry = (n: number, platform?: object) =>
    ({
      mediaType: MEDIA.ociManifest,
      digest: digest(n),
      size: 1,
      ...(platform ? { platform } : {}),
    }) as ImageIndex['manifests'][number];
  const index = (...manifests: ImageIndex['manifests']): ImageIndex => ({
    kind: 'index',
    mediaType: MEDIA.ociIndex,
    manifests,
  });
  const at = (text: string) => parsePlatform(text, host);

  it('reads what people write', () => {
    const pairs = {
      'linux/x86_64': 'linux/amd64',
      aarch64: 'linux/arm64',
      'linux/arm64/v8': 'linux/arm64',
      armhf: 'linux/arm/v7',
      linux: 'linux/amd64',
      'linux/arm/6': 'linux/arm/v6',
    };
    for (const [text, meaning] of Object.entries(pairs)) expect(platformText(at(text))).toBe(meaning);
    expect(() => at('linux/a/b/c')).toThrow('"linux/a/b/c": cannot parse platform specifier');
    expect(() => at('linux/!')).toThrow('"!" is an invalid component of "linux/!"');
  });

  it('chooses the best variant that runs, whatever the order', () => {
    const arms = index(
      entry(5, { os: 'linux', architecture: 'arm', variant: 'v5' }),
      entry(7, { os: 'linux', architecture: 'arm', variant: 'v7' }),
      entry(6, { os: 'linux', architecture: 'arm', variant: 'v6' }),
    );
    expect(choosePlatform(arms, at('linux/arm/v7')).digest).toBe(digest(7));
    expect(choosePlatform(arms, at('linux/arm/v6')).digest).toBe(digest(6));
    expect(choosePlatform(arms, at('linux/arm64')).digest).toBe(digest(7));
    expect(() => choosePlatform(arms, host)).toThrow(
      'no matching manifest for linux/amd64 in the manifest list entries',
    );
  });

  it('never takes an attestation for an image', () => {
    const withAttestation = index(
      entry(1, { os: 'unknown', architecture: 'unknown' }),
      entry(2, { os: 'linux', architecture: 'amd64' }),
    );
    expect(choosePlatform(withAttestation, host).digest).toBe(digest(2));
    expect(choosePlatform(index(entry(3)), host).digest).toBe(digest(3));
    expect(platformMatches(host, { os: 'linux', architecture: 'arm64' })).toBe(false);
  });
});

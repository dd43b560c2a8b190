import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestBytes, pushBusybox, pushIndex, pushOdd } from '../support/fixture-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';

describe('the registry of the tests', () => {
  let registries: TestRegistry[];
  beforeAll(async () => {
    registries = await Promise.all([startRegistry(), startRegistry({ tls: true, htpasswd: true })]);
  });
  afterAll(() => Promise.all(registries.map((registry) => registry.stop())));

  it('takes images of both formats and gives back their very bytes', async () => {
    for (const registry of registries) {
      const plain = await pushBusybox(registry, 'busybox:latest', { format: 'docker' });
      const odd = await pushOdd(registry, 'some/odd:1');
      const index = await pushIndex(registry, 'multi:latest', [
        { image: plain, platform: { os: 'linux', architecture: 'amd64' } },
        { image: odd, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
      ]);
      expect(await manifestBytes(registry, 'busybox:latest')).toEqual(plain.blobs.get(plain.manifest.digest));
      expect(await manifestBytes(registry, `some/odd@${odd.manifest.digest}`)).toEqual(
        odd.blobs.get(odd.manifest.digest),
      );
      expect((await manifestBytes(registry, `multi@${index.digest}`)).length).toBe(index.size);
    }
  });
});

/** Images for the bench, pushed by plain HTTP. */
import { randomBytes } from 'node:crypto';
import { buildImage, pushImage, tarOf } from '../test/support/fixture-image.ts';
import type { TestRegistry } from '../test/support/registry.ts';

const LAYERS = 8;
const FILES = 725;
const FILE_BYTES = 52_000;

/** 300 MB in 8 gzip layers of 725 files each, half of it compressible. Returns its reference. */
export async function pushBigImage(registry: TestRegistry): Promise<string> {
  const layers: Buffer[] = [];
  for (let layer = 0; layer < LAYERS; layer++) {
    const entries = Array.from({ length: FILES }, (_, file) => ({
      name: `layer${layer}/dir${file % 20}/file${file}`,
      content: Buffer.concat([randomBytes(FILE_BYTES / 2), Buffer.alloc(FILE_BYTES / 2, `${layer}-${file} `)]),
    }));
    layers.push(await tarOf(entries));
  }
  await pushImage(registry, 'big:latest', buildImage({ layers }));
  return `${registry.host}/big:latest`;
}

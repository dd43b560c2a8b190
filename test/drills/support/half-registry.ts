/**
 * A program: a registry whose one layer stops in the middle for who asks for all of it, while the rest comes by itself. Says its host,
 * then a line for each request of the layer: what was asked of it.
 */
import { randomBytes } from 'node:crypto';
import { sendBlob, startFaultyRegistry } from '../../support/faulty-registry.ts';
import { buildImage, tarOf } from '../../support/fixture-image.ts';

const image = buildImage({ layers: [await tarOf([{ name: 'big', content: randomBytes(8 << 20) }])] });
const { digest, size } = image.layers[0]!;
const registry = await startFaultyRegistry(image);
registry.intercept = (request, response) => {
  if (!request.url.endsWith(digest)) return false;
  console.log(`layer ${request.headers.range ?? 'all'}`);
  const bytes = image.blobs.get(digest)!;
  if (request.headers.range) return sendBlob(request, response, bytes);
  response.writeHead(200, { 'content-length': size }).write(bytes.subarray(0, size / 2));
  return true;
};
console.log(`${registry.host} ${digest.slice(7)} ${Math.floor(size / 2)}`);

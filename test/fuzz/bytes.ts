/** Bytes from the network and from disk: frames, log files, DNS, manifests. */
import fc from 'fast-check';
import { decode, encode } from 'dns-packet';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { encodeFrame as encodeGrpc, FrameReader } from '../../src/build/grpc/frame.ts';
import { RequestSchema, ResponseSchema } from '../../src/generated/proto/containerd/ttrpc_pb.ts';
import { checkedConfig } from '../../src/image/catalog/config.ts';
import { choosePlatform, MEDIA, parseManifest } from '../../src/image/manifest.ts';
import { decodeLines } from '../../src/logs/json-file/decode.ts';
import { encodeLines } from '../../src/logs/json-file/encode.ts';
import { decodeRecords, encodeRecords, recordHead, wholeRecords } from '../../src/logs/local/codec.ts';
import { decide } from '../../src/network/dns/answer.ts';
import { Frames, framed } from '../../src/network/dns/forward.ts';
import { Names } from '../../src/network/dns/names.ts';
import { encodeFrame, FrameDecoder, FrameType } from '../../src/runtime/ttrpc/frame.ts';
import { cuts, mutated, pieces, refusing, type Target } from './target.ts';

const request = toBinary(
  RequestSchema,
  create(RequestSchema, {
    service: 'containerd.task.v2.Task',
    method: 'Wait',
    payload: new Uint8Array(40),
    timeoutNano: 5n,
  }),
);
const frames = Buffer.concat([
  encodeFrame(1, FrameType.request, request),
  encodeFrame(3, FrameType.response, new Uint8Array(300)),
  encodeFrame(5, FrameType.data, new Uint8Array(0)),
]);
const lines = encodeLines(
  Buffer.from('plain\ntab\t"quoted" \\ é\n\n'),
  'stdout',
  '{"tag":"x"}',
  '2026-01-02T03:04:05.000000006Z',
);
const records = encodeRecords(
  [Buffer.from('one\n'), Buffer.from('part'), Buffer.from('x'.repeat(300))],
  recordHead('stderr', 1_700_000_000_000_000_000n),
).bytes;
const digest = `sha256:${'ab'.repeat(32)}`;
const document = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const manifest = document({
  schemaVersion: 2, mediaType: MEDIA.ociManifest, config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 7 },
  layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 9, urls: ['https://x'] }],
}); // prettier-ignore
const index = document({
  schemaVersion: 2,
  mediaType: MEDIA.ociIndex,
  manifests: [
    { mediaType: MEDIA.ociManifest, digest, size: 7, platform: { os: 'linux', architecture: 'amd64', variant: 'v1' } },
  ],
});
const config = document({
  architecture: 'amd64',
  os: 'linux',
  config: { Env: ['A=b'], Cmd: ['sh'], Volumes: { '/a': {} }, ExposedPorts: { '80/tcp': {} }, Labels: { a: 'b' } },
  rootfs: { type: 'layers', diff_ids: [digest] },
  history: [{ created_by: 'x', empty_layer: true }],
});
const query = encode({
  type: 'query',
  id: 7,
  flags: 256,
  questions: [
    { type: 'A', name: 'web.front' },
    { type: 'PTR', name: '2.0.17.172.in-addr.arpa' },
  ],
});

/** Any JSON in the place of any value of a document. */
const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(null, '', -1, 1e300, [], {}, [null], 'sha256:../../x', 2 ** 53),
);
const replaced = (...samples: Buffer[]): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.constantFrom(...samples), fc.array(fc.tuple(fc.nat(30), odd), { maxLength: 3 }))
    .map(([sample, changes]) => {
      let root: unknown = JSON.parse(sample.toString());
      for (const [place, value] of changes) {
        let at = 0;
        root = JSON.parse(JSON.stringify(root), (_, old: unknown) => (at++ === place ? value : old));
      }
      return Buffer.from(JSON.stringify(root) ?? 'null');
    });

export const byteTargets: Target[] = [
  {
    name: 'ttrpc',
    input: fc.tuple(mutated(frames), cuts),
    run([bytes, sizes]: [Buffer, number[]]) {
      const decoder = new FrameDecoder();
      for (const piece of pieces(bytes, sizes))
        for (const { payload } of decoder.push(piece))
          for (const schema of [RequestSchema, ResponseSchema]) unpack(schema, payload);
    },
  },
  {
    name: 'grpc',
    input: fc.tuple(
      mutated(Buffer.concat([encodeGrpc(new Uint8Array(30)), encodeGrpc(new Uint8Array(0)), encodeGrpc(request)])),
      cuts,
    ),
    run: ([bytes, sizes]: [Buffer, number[]]) =>
      refusing(() => {
        const reader = new FrameReader();
        for (const piece of pieces(bytes, sizes)) reader.push(piece);
      }),
  },
  { name: 'json-log', input: mutated(lines), run: (bytes: Buffer) => within(bytes, decodeLines(bytes).consumed) },
  {
    name: 'local-log',
    input: mutated(Buffer.from(records)),
    run(bytes: Buffer) {
      within(bytes, decodeRecords(bytes).consumed);
      within(bytes, wholeRecords(bytes));
    },
  },
  {
    name: 'dns',
    input: fc.tuple(mutated(framed(query)), cuts),
    run([bytes, sizes]: [Buffer, number[]]) {
      const reader = new Frames();
      for (const piece of pieces(bytes, sizes))
        for (const message of reader.push(piece)) {
          const decoded = attempt(() => decode(message));
          if (decoded?.type !== 'query') continue;
          const verdict = decide(
            decoded,
            {
              containerId: 'c',
              networks: [{ id: 'n', name: 'front' }],
              links: new Map(),
              upstreams: ['192.0.2.1'],
              outside: true,
            },
            new Names(),
            1,
          );
          if ('reply' in verdict) attempt(() => encode(verdict.reply));
        }
    },
  },
  {
    name: 'manifest',
    input: fc.oneof(mutated(manifest, index), replaced(manifest, index)),
    run(bytes: Buffer) {
      for (const type of [undefined, MEDIA.ociManifest, MEDIA.ociIndex, MEDIA.dockerManifest, MEDIA.dockerList]) {
        const parsed = refusing(() => parseManifest(bytes, type));
        if (parsed && 'manifests' in parsed)
          refusing(() => choosePlatform(parsed, { os: 'linux', architecture: 'amd64' }), ['invalid', 'notFound']);
      }
    },
  },
  {
    name: 'image-config',
    input: replaced(config),
    run: (bytes: Buffer) => refusing(() => checkedConfig(JSON.parse(bytes.toString()))),
  },
];

/** Libraries throw what they like; their callers catch it. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

const unpack = (schema: typeof RequestSchema | typeof ResponseSchema, bytes: Uint8Array): unknown =>
  attempt(() => fromBinary(schema as typeof RequestSchema, bytes));

function within(bytes: Buffer, consumed: number): void {
  if (!(consumed >= 0 && consumed <= bytes.length)) throw new Error(`consumed ${consumed} of ${bytes.length} bytes`);
}

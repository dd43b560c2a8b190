/** Images in other shapes than one big pull: a layer of many small files, and the archives of `docker load` and `docker save`. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildImage, type Entry, tarOf } from '../../test/support/fixture-image.ts';
import type { Case } from '../case.ts';
import type { Peer } from '../peers.ts';

const SMALL_FILES = 10_000;
const LAYERS = 8;
const FILES = 725;
const FILE_BYTES = 52_000;

const seconds = (work: () => unknown): number => {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e9;
};

/** A docker archive of layers that are not compressed, as `docker save` of dockerd's overlay2 writes it. */
async function archiveOf(name: string, layers: Buffer[]): Promise<Buffer> {
  const { config, layers: blobs, blobs: bytes } = buildImage({ layers, compression: 'none' });
  const path = (digest: string): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  const manifest = [{ Config: path(config.digest), RepoTags: [name], Layers: blobs.map(({ digest }) => path(digest)) }];
  return tarOf([
    ...[config, ...blobs].map(({ digest }) => ({ name: path(digest), content: bytes.get(digest)! })),
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ]);
}

/** Half of every file is compressible. */
function bigLayers(): Promise<Buffer[]> {
  const content = (seed: string): Buffer =>
    Buffer.concat([randomBytes(FILE_BYTES / 2), Buffer.alloc(FILE_BYTES / 2, seed)]);
  const layer = (layer: number): Entry[] =>
    Array.from({ length: FILES }, (_, file) => ({
      name: `layer${layer}/dir${file % 20}/file${file}`,
      content: content(`${layer}-${file} `),
    }));
  return Promise.all(Array.from({ length: LAYERS }, (_, i) => tarOf(layer(i))));
}

function smallFiles(): Promise<Buffer> {
  const entry = (i: number): Entry => ({
    name: `usr/lib/dir${i % 100}/file${i}`,
    content: `${i} `.repeat(20 + (i % 200)),
  });
  return tarOf(Array.from({ length: SMALL_FILES }, (_, i) => entry(i)));
}

const prepared = new Map<string, Promise<string>>();

/** Made once for all peers and rounds. */
function once(key: string, make: () => Promise<string>): Promise<string> {
  const known = prepared.get(key) ?? make();
  prepared.set(key, known);
  return known;
}

let directory: string | undefined;

function keep(name: string, bytes: Buffer): string {
  if (!directory) {
    const made = mkdtempSync(join(tmpdir(), 'bench-images-'));
    directory = made;
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  const file = join(directory, name);
  writeFileSync(file, bytes);
  return file;
}

const BIG = 'bench-big:latest';
const bigArchive = (): Promise<string> =>
  once('big', async () => keep('big.tar', await archiveOf(BIG, await bigLayers())));

/** The small files' image, in the registry that the peers pull from. Returns its reference. */
const pushedSmall = (peer: Peer): Promise<string> =>
  once('small', async () => {
    const reference = peer.image.replace(/busybox:latest$/, 'small:latest');
    peer.docker('load', '-q', '-i', keep('small.tar', await archiveOf(reference, [await smallFiles()])));
    peer.docker('push', '-q', reference);
    peer.docker('rmi', reference);
    return reference;
  });

export const imageCases: Case[] = [
  {
    name: 'pull 10,000 small files',
    unit: 's',
    goal: '≤ 0.80',
    async measure(peer) {
      const reference = await pushedSmall(peer);
      const time = seconds(() => peer.docker('pull', '-q', reference));
      peer.docker('rmi', reference);
      return time;
    },
  },
  {
    name: 'load 300 MB',
    unit: 's',
    goal: '≤ 0.70',
    rounds: 3,
    async measure(peer) {
      const archive = await bigArchive();
      const time = seconds(() => peer.docker('load', '-q', '-i', archive));
      peer.docker('rmi', BIG);
      return time;
    },
  },
  {
    name: 'save 300 MB',
    unit: 's',
    goal: '≤ 0.70',
    rounds: 3,
    async measure(peer) {
      peer.docker('load', '-q', '-i', await bigArchive());
      const saved = join(peer.directory, 'saved.tar');
      const time = seconds(() => peer.docker('save', '-o', saved, BIG));
      const { size } = statSync(saved);
      rmSync(saved);
      peer.docker('rmi', BIG);
      if (size < LAYERS * FILES * FILE_BYTES) throw new Error(`only ${size} bytes were saved`);
      return time;
    },
  },
];

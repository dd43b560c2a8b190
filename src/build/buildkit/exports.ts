/** What becomes of a build's result: an image of ours, or files that go back to the client. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { join, posix } from 'node:path';
import { internal, notImplemented, unavailable } from '../../errors.ts';
import type { Exporter } from '../../generated/proto/buildkit/control_pb.ts';
import { FileSend } from '../../generated/proto/buildkit/session_pb.ts';
import { FileSync } from '../../generated/proto/buildkit/session_pb.ts';
import { type Packet, Packet_PacketType as Type } from '../../generated/proto/fsutil/wire_pb.ts';
import { familiar, parseReference, withDefaultTag } from '../../image/reference.ts';
import { namesIn } from '../files/select.ts';
import { type LayerDeps, withRoot } from '../layer.ts';
import { imageState } from '../state.ts';
import type { BuildResult } from '../types.ts';
import { goModeOf } from './file-mode.ts';
import type { Session } from './sessions.ts';

export interface ExportDeps extends LayerDeps {
  session: () => Promise<Session>;
  signal: AbortSignal;
}

const IMAGE_EXPORTERS = new Set(['moby', 'image']);

/** Answers the exporter's part of the response. */
export async function exportResult(
  deps: ExportDeps,
  exporter: Exporter,
  index: number,
  result: BuildResult,
): Promise<Record<string, string>> {
  const { type, attrs } = exporter;
  if (IMAGE_EXPORTERS.has(type)) {
    if (attrs.push === 'true')
      throw notImplemented('pushing from a build is not supported by this daemon; push the image afterwards');
    return storeImageAs(deps, attrs.name ?? '', result);
  }
  if (type === 'local') await withFiles(deps, result, (root) => sendDirectory(deps, root, index));
  else if (type === 'tar') await withFiles(deps, result, (root) => sendTar(deps, root, index));
  else throw notImplemented(`exporter ${JSON.stringify(type)} is not supported by this daemon`);
  return {};
}

async function storeImageAs(
  { images }: ExportDeps,
  names: string,
  { image }: BuildResult,
): Promise<Record<string, string>> {
  const tags = names
    .split(',')
    .filter(Boolean)
    .map((name) => familiar(withDefaultTag(parseReference(name))));
  for (const tag of tags) await images.tag(image.id, tag);
  return {
    'containerimage.digest': image.id,
    'containerimage.config.digest': image.id,
    ...(tags.length ? { 'image.name': names } : {}),
  };
}

const withFiles = (deps: ExportDeps, { image }: BuildResult, work: (root: string) => Promise<void>): Promise<void> =>
  withRoot(deps, imageState(image, 'buildkit'), work);

const metadataOf = (index: number) => ({ 'buildkit-attachable-exporter-id': String(index) });

async function sendTar(deps: ExportDeps, root: string, index: number): Promise<void> {
  const { client } = await deps.session();
  const call = client.open(FileSend.method.diffCopy, { metadata: metadataOf(index), signal: deps.signal });
  const tar = spawn('tar', ['--create', '--file=-', '--numeric-owner', '--sort=name', `--directory=${root}`, '.'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    signal: deps.signal,
  });
  const ended = new Promise<number | null>((resolve, reject) => tar.once('error', reject).once('close', resolve));
  ended.catch(() => {});
  try {
    for await (const data of tar.stdout) await call.send({ data: data as Buffer });
    if ((await ended) !== 0) throw internal('tar failed');
    call.end();
    for await (const _ of call.received) continue;
  } finally {
    tar.kill('SIGKILL');
    call.cancel();
  }
}

/** Every entry of a tree, parents first, in the order fsutil expects: each directory's names sorted. */
function* walk(root: string, directory = ''): Generator<{ path: string; stat: fs.Stats }> {
  for (const name of namesIn(join(root, directory))) {
    const path = posix.join(directory, name);
    const stat = fs.lstatSync(join(root, path));
    yield { path, stat };
    if (stat.isDirectory()) yield* walk(root, path);
  }
}

const CHUNK = 32 << 10;

/** The sender's side of fsutil. */
async function sendDirectory(deps: ExportDeps, root: string, index: number): Promise<void> {
  const { client } = await deps.session();
  // Packets go through the bytes of FileSend's messages as they are: the two methods differ only in their declared types.
  const method = { ...FileSync.method.diffCopy, parent: FileSend };
  const call = client.open(method as typeof FileSync.method.diffCopy, {
    metadata: metadataOf(index),
    signal: deps.signal,
  });
  const files: string[] = [];
  const links = new Map<string, string>();
  const telling = (async () => {
    for (const { path, stat } of walk(root)) {
      if (stat.isSocket()) continue;
      files.push(path);
      const inode = `${stat.dev}:${stat.ino}`;
      const first = stat.isFile() && stat.nlink > 1 ? links.get(inode) : undefined;
      if (stat.isFile() && stat.nlink > 1) links.set(inode, first ?? path);
      await call.send({
        type: Type.PACKET_STAT,
        stat: { ...statOf(root, path, stat), ...(first ? { linkname: first } : {}) },
      });
    }
    await call.send({ type: Type.PACKET_STAT });
  })();
  telling.catch(() => {});
  try {
    for await (const packet of call.received as AsyncIterable<Packet>) {
      if (packet.type === Type.PACKET_ERR)
        throw unavailable(`the client could not write the result: ${Buffer.from(packet.data).toString('utf8')}`);
      if (packet.type === Type.PACKET_FIN) {
        await telling;
        await call.send({ type: Type.PACKET_FIN });
        call.end();
      } else if (packet.type === Type.PACKET_REQ)
        await sendFile(call.send, packet.id, join(root, files[packet.id] ?? ''));
    }
  } finally {
    call.cancel();
  }
}

async function sendFile(
  send: (packet: { type: Type; id: number; data?: Uint8Array }) => Promise<void>,
  id: number,
  path: string,
): Promise<void> {
  for await (const data of fs.createReadStream(path, { highWaterMark: CHUNK }))
    await send({ type: Type.PACKET_DATA, id, data: data as Buffer });
  await send({ type: Type.PACKET_DATA, id });
}

export function statOf(root: string, path: string, stat: fs.Stats) {
  return {
    path,
    mode: goModeOf(stat.mode),
    uid: stat.uid,
    gid: stat.gid,
    size: BigInt(stat.isFile() ? stat.size : 0),
    modTime: BigInt(Math.round(stat.mtimeMs * 1000)) * 1000n,
    linkname: stat.isSymbolicLink() ? fs.readlinkSync(join(root, path)) : '',
  };
}

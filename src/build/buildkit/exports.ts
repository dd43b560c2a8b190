/** What becomes of a build's result: an image of ours, or files that go back to the client. */
import { spawn } from 'node:child_process';
import { internal, notImplemented } from '../../errors.ts';
import { FileSend, FileSync } from '../../generated/proto/buildkit/session_pb.ts';
import { familiar, parseReference, withDefaultTag } from '../../image/reference.ts';
import { type LayerDeps, publishImage, withRoot } from '../layer.ts';
import { imageState } from '../state.ts';
import type { BuildResult } from '../types.ts';
import { sendTree } from './file-send.ts';
import type { Session } from './sessions.ts';

export interface ExportDeps extends LayerDeps {
  session: () => Promise<Session>;
  signal: AbortSignal;
}

/** Where a client wants the result, and how. */
export interface Export {
  type: string;
  attrs: Record<string, string>;
}

const IMAGE_EXPORTERS = new Set(['moby', 'image']);

/** Answers the exporter's part of the response. */
export async function exportResult(
  deps: ExportDeps,
  exporter: Export,
  index: number,
  result: BuildResult,
): Promise<Record<string, string>> {
  const { type, attrs } = exporter;
  if (IMAGE_EXPORTERS.has(type)) {
    // To its docker driver ("moby") buildx says so too, but pushes by the image API itself.
    if (type === 'image' && attrs.push === 'true')
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
  await publishImage(images, image);
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

/** A directory for the client. */
async function sendDirectory(deps: ExportDeps, root: string, index: number): Promise<void> {
  const { client } = await deps.session();
  // Packets go where FileSend declares bytes: on the wire its method is the one of FileSync.
  const method = { ...FileSync.method.diffCopy, parent: FileSend } as typeof FileSync.method.diffCopy;
  const call = client.open(method, { metadata: metadataOf(index), signal: deps.signal });
  try {
    await sendTree(root, call);
  } finally {
    call.cancel();
  }
}

/**
 * Directories of the client, by fsutil over the session: it tells every entry, we ask for the files, bytes follow. The tree
 * is made by the layer extractor, so that nothing the client names lies outside of it. A file that is in the copy of the last
 * time already, by size, time, mode and owner, is linked from there and not asked for.
 */
import fs from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { unavailable } from '../../errors.ts';
import { FileSync } from '../../generated/proto/buildkit/session_pb.ts';
import { type Packet, Packet_PacketType as Type, type Stat } from '../../generated/proto/fsutil/wire_pb.ts';
import { componentsOf, LayerExtractor } from '../../tar/extract.ts';
import { tarHeader } from '../../tar/header.ts';
import { lutimens } from '../../tar/utimens.ts';
import type { Metadata } from '../grpc/client.ts';
import { isRegularGoMode, kindOfGoMode, permissionsOfGoMode } from './file-mode.ts';
import type { Session } from './sessions.ts';

export interface DirectoryRequest {
  /** The client's name of the directory: context, dockerfile, or that of a named context. */
  name: string;
  excludes?: string[];
  /** Only these and what they lead to. */
  follow?: string[];
}

/** The side that sends a tree. */
export interface Sending {
  send(packet: { type: Type; id?: number }): Promise<void>;
  /** No more packets from us. */
  end(): void;
  received: AsyncIterable<Packet>;
}

/** What is not plain ASCII goes url-encoded, and says so. */
function metadataOf({ name, excludes, follow }: DirectoryRequest): Metadata {
  const lists: Record<string, string[] | undefined> = {
    'dir-name': [name],
    'exclude-patterns': excludes,
    followpaths: follow,
  };
  const metadata: Metadata = {};
  for (const [key, values] of Object.entries(lists)) {
    if (!values?.length) continue;
    const isPlain = values.every((value) => /^[\x20-\x7e]*$/.test(value));
    metadata[key] = isPlain ? values : values.map((value) => encodeURIComponent(value).replace(/%20/g, '+'));
    if (!isPlain) metadata[`${key}-encoded`] = '1';
  }
  return metadata;
}

const SECOND = 1_000_000_000n;

/** The same file as far as its stat tells. A time of whole seconds does not tell enough: archives and some tools give all the same. */
function isSame(old: fs.BigIntStats | undefined, stat: Stat): boolean {
  return (
    !!old?.isFile() && old.size === stat.size && old.mtimeNs === stat.modTime && stat.modTime % SECOND !== 0n &&
    Number(old.mode & 0o7777n) === permissionsOfGoMode(stat.mode) && Number(old.uid) === stat.uid && Number(old.gid) === stat.gid
  ); // prettier-ignore
}

/** What becomes of a tree that comes. */
export interface Taker {
  /** An entry. Answers its number, which counts from 0, when its bytes are wanted. */
  stat(stat: Stat): number | undefined;
  /** No bytes are the end of a file. */
  data(id: number, bytes: Uint8Array): void;
  /** No bytes are on their way. */
  readonly isIdle: boolean;
  /** All is there. */
  finish(): void;
  close(): void;
}

const latin = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

/** Makes it a directory. */
class Receiver implements Taker {
  #root: string;
  #kept: string | undefined;
  #extractor: LayerExtractor;
  /** Whose bytes are on their way. */
  #files = new Map<number, { path: string; fd?: number; modTime: bigint }>();
  #count = 0;
  /** Of all files, whether they had to come or not. */
  bytes = 0;

  constructor(root: string, kept: string | undefined) {
    this.#root = root;
    this.#kept = kept;
    this.#extractor = new LayerExtractor(root);
  }

  get isIdle(): boolean {
    return this.#files.size === 0;
  }

  stat(stat: Stat): number | undefined {
    const id = this.#count++;
    const kind = kindOfGoMode(stat.mode);
    if (kind === 'socket') return undefined;
    const isLink = isRegularGoMode(stat.mode) && stat.linkname !== '';
    const hasBytes = !isLink && isRegularGoMode(stat.mode) && stat.size !== 0n;
    if (hasBytes && this.#kept !== undefined && this.#reuse(this.#kept, stat)) return undefined;
    this.#extractor.entry(
      tarHeader({
        name: latin(stat.path), type: isLink ? 'link' : kind, mode: permissionsOfGoMode(stat.mode), uid: stat.uid, gid: stat.gid, size: 0,
        mtimeNs: stat.modTime, linkname: latin(stat.linkname), major: Number(stat.devmajor), minor: Number(stat.devminor),
      }), // prettier-ignore
    );
    this.#extractor.done();
    if (!hasBytes) return undefined;
    const path = join(this.#root, ...componentsOf(stat.path));
    if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isFile()) return undefined;
    this.bytes += Number(stat.size);
    this.#files.set(id, { path, modTime: stat.modTime });
    return id;
  }

  /** Takes the kept file, if that is the same. The kept copy may be replaced by another build's meanwhile. */
  #reuse(kept: string, stat: Stat): boolean {
    try {
      const file = join(kept, ...componentsOf(stat.path));
      if (!isSame(fs.lstatSync(file, { bigint: true, throwIfNoEntry: false }), stat)) return false;
      this.#extractor.adopt(latin(stat.path), file);
    } catch {
      return false;
    }
    this.bytes += Number(stat.size);
    return true;
  }

  data(id: number, bytes: Uint8Array): void {
    const file = this.#files.get(id);
    if (!file) throw unavailable(`the client sent a file nobody asked for (${id})`);
    // Opened with its first bytes: the client sends a few files at a time, we may have asked for thousands.
    file.fd ??= fs.openSync(file.path, fs.constants.O_WRONLY | fs.constants.O_NOFOLLOW);
    if (bytes.length) {
      for (let at = 0; at < bytes.length;) at += fs.writeSync(file.fd, bytes, at);
      return;
    }
    fs.closeSync(file.fd);
    lutimens(Buffer.from(`${file.path}\0`), file.modTime);
    this.#files.delete(id);
  }

  finish(): void {
    this.#extractor.finish();
  }

  close(): void {
    for (const { fd } of this.#files.values()) if (fd !== undefined) fs.closeSync(fd);
    this.#extractor.close();
  }
}

export interface ReceiveOptions {
  /** A tree that this one may be much like. */
  kept?: string;
  transferred?: (bytes: number) => void;
}

/** Takes a tree from whoever sends it, into `target`. `name` is for messages. Answers the size of all its files. */
export async function receiveDirectoryFrom(
  peer: Sending,
  target: string,
  name: string,
  options: ReceiveOptions = {},
): Promise<{ bytes: number }> {
  await mkdir(target, { recursive: true });
  const receiver = new Receiver(target, options.kept);
  await take(peer, receiver, name, options.transferred);
  return { bytes: receiver.bytes };
}

async function take(peer: Sending, taker: Taker, name: string, transferred?: (bytes: number) => void): Promise<void> {
  let isListed = false;
  const finishIfComplete = async (): Promise<void> => {
    if (isListed && taker.isIdle) await peer.send({ type: Type.PACKET_FIN });
  };
  try {
    for await (const packet of peer.received) {
      switch (packet.type) {
        case Type.PACKET_STAT: {
          const id = packet.stat && taker.stat(packet.stat);
          isListed ||= !packet.stat;
          if (id !== undefined) await peer.send({ type: Type.PACKET_REQ, id });
          else if (!packet.stat) await finishIfComplete();
          break;
        }
        case Type.PACKET_DATA:
          taker.data(packet.id, packet.data);
          transferred?.(packet.data.length);
          if (!packet.data.length) await finishIfComplete();
          break;
        case Type.PACKET_FIN:
          peer.end();
          break;
        case Type.PACKET_ERR:
          throw unavailable(`the other side could not send ${name}: ${Buffer.from(packet.data).toString('utf8')}`);
        default:
          throw unavailable(`unexpected packet ${packet.type}`);
      }
    }
    taker.finish();
  } finally {
    taker.close();
  }
}

/** Copies a directory of the client into `target`. */
export async function receiveDirectory(
  session: Session,
  request: DirectoryRequest,
  target: string,
  signal: AbortSignal,
  options?: ReceiveOptions,
): Promise<{ bytes: number }> {
  return withCall(session, request, signal, (call) => receiveDirectoryFrom(call, target, request.name, options));
}

/** Gives a directory of the client to a taker. */
export const takeDirectory = (
  session: Session,
  request: DirectoryRequest,
  taker: Taker,
  signal: AbortSignal,
  transferred?: (bytes: number) => void,
): Promise<void> => withCall(session, request, signal, (call) => take(call, taker, request.name, transferred));

async function withCall<T>(
  session: Session,
  request: DirectoryRequest,
  signal: AbortSignal,
  work: (call: Sending) => Promise<T>,
): Promise<T> {
  const call = session.client.open(FileSync.method.diffCopy, { metadata: metadataOf(request), signal });
  try {
    return await work(call);
  } finally {
    call.cancel();
  }
}

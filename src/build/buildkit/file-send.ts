/** The sender's side of fsutil: tells every entry of a tree, then sends the files the other side asks for. */
import fs from 'node:fs';
import { join, posix } from 'node:path';
import { unavailable } from '../../errors.ts';
import { type Packet, Packet_PacketType as Type } from '../../generated/proto/fsutil/wire_pb.ts';
import { namesIn } from '../files/names.ts';
import { goModeOf } from './file-mode.ts';

export interface PacketInit {
  type: Type;
  id?: number;
  data?: Uint8Array;
  stat?: ReturnType<typeof statOf>;
}

export interface Receiving {
  send(packet: PacketInit): Promise<void>;
  /** No more packets from us. */
  end(): void;
  received: AsyncIterable<Packet>;
}

const CHUNK = 32 << 10;

/** Every entry of a tree, parents first, each directory's names sorted, as fsutil expects them. */
function* walk(
  root: string,
  wanted: (path: string) => boolean,
  directory = '',
): Generator<{ path: string; stat: fs.Stats }> {
  for (const name of namesIn(join(root, directory))) {
    const path = posix.join(directory, name);
    const stat = fs.lstatSync(join(root, path));
    if (stat.isSocket() || !wanted(path)) continue;
    yield { path, stat };
    if (stat.isDirectory()) yield* walk(root, wanted, path);
  }
}

export async function sendTree(
  root: string,
  peer: Receiving,
  wanted: (path: string) => boolean = () => true,
): Promise<void> {
  const files: string[] = [];
  const links = new Map<string, string>();
  const telling = (async () => {
    for (const { path, stat } of walk(root, wanted)) {
      files.push(path);
      const inode = `${stat.dev}:${stat.ino}`;
      const first = stat.isFile() && stat.nlink > 1 ? links.get(inode) : undefined;
      if (stat.isFile() && stat.nlink > 1) links.set(inode, first ?? path);
      await peer.send({
        type: Type.PACKET_STAT,
        stat: { ...statOf(root, path, stat), ...(first ? { linkname: first } : {}) },
      });
    }
    await peer.send({ type: Type.PACKET_STAT });
  })();
  telling.catch(() => {});
  for await (const packet of peer.received) {
    if (packet.type === Type.PACKET_ERR)
      throw unavailable(`the other side could not write the files: ${Buffer.from(packet.data).toString('utf8')}`);
    if (packet.type === Type.PACKET_FIN) {
      await telling;
      await peer.send({ type: Type.PACKET_FIN });
      peer.end();
    } else if (packet.type === Type.PACKET_REQ) await sendFile(peer, packet.id, join(root, files[packet.id] ?? ''));
  }
}

async function sendFile(peer: Receiving, id: number, path: string): Promise<void> {
  const file = fs.createReadStream(path, { highWaterMark: CHUNK });
  for await (const data of file) await peer.send({ type: Type.PACKET_DATA, id, data: data as Buffer });
  await peer.send({ type: Type.PACKET_DATA, id });
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

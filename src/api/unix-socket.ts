/** Unix sockets of the daemon: never wider than root and one group, not even for a moment, and never taken from a living daemon. */
import { chownSync, lstatSync, mkdirSync, readFileSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { conflict, invalid } from '../errors.ts';

/** sockaddr_un holds 108 bytes with the final zero (unix(7)); a longer one would be cut silently. */
const LONGEST_PATH = 107;

/**
 * Binds `server` to `path` with mode 0660, owned by root and the group (root when there is no such group). Throws conflict
 * when somebody answers there, invalid when the path is taken by something that is no socket.
 */
export async function listenUnix(server: Server, path: string, group: string, log: Logger): Promise<void> {
  if (Buffer.byteLength(path) > LONGEST_PATH)
    throw invalid(`the socket path ${path} is longer than ${LONGEST_PATH} bytes`);
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  await clearStale(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // bind(2) runs within listen(), so the mask covers the socket's creation and nothing else.
    const before = process.umask(0o117);
    try {
      server.listen({ path }, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
  const gid = groupId(group);
  if (gid === undefined) log.warn({ path, group }, 'the group of the socket does not exist: it belongs to root alone');
  else if (process.getuid?.() === 0) chownSync(path, 0, gid);
}

async function clearStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) throw invalid(`cannot listen on ${path}: it exists and is no socket`);
  if (await answers(path)) throw conflict(`cannot listen on ${path}: another process listens there`);
  unlinkSync(path);
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // Refused: nobody holds it. Anything else (a full backlog) means that somebody does.
    probe.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });

/** By number, or by name in /etc/group. */
function groupId(group: string): number | undefined {
  if (/^\d+$/.test(group)) return Number(group);
  if (group === '') return undefined;
  try {
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${group}:`));
    const gid = line?.split(':')[2];
    return gid === undefined ? undefined : Number(gid);
  } catch {
    return undefined;
  }
}

/** Datagrams to a unix socket, which Node has no way to send: syslog(3) and journald take them. unix(7). */
import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { internal, unavailable } from '../../errors.ts';
import type { Transport } from './connection.ts';

const AF_UNIX = 1;
/** SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const TYPE = 2 | 0o4000 | 0o2000000;
/** MSG_DONTWAIT | MSG_NOSIGNAL */
const FLAGS = 0x40 | 0x4000;
const PATH_MAX = 107;
const RETRY_MS = 5;
const RETRIES = 200;

interface Calls {
  socket(domain: number, type: number, protocol: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
}

let calls: Calls | undefined;

function libc(): Calls {
  if (calls) return calls;
  const library = koffi.load('libc.so.6');
  const send = library.func('intptr_t send(int fd, const void *bytes, size_t length, int flags)');
  calls = {
    socket: library.func('int socket(int domain, int type, int protocol)') as unknown as Calls['socket'],
    connect: library.func(
      'int connect(int fd, const void *address, unsigned int length)',
    ) as unknown as Calls['connect'],
    send: (fd, bytes, length, flags) => Number((send as unknown as Calls['send'])(fd, bytes, length, flags)),
  };
  return calls;
}

/** sockaddr_un: the family in the host's byte order, then the path with its end. */
function addressOf(path: string): Buffer {
  const bytes = Buffer.alloc(2 + PATH_MAX + 1);
  if (Buffer.byteLength(path) > PATH_MAX) throw internal(`${path}: too long for a socket's path`);
  new Uint16Array(bytes.buffer, bytes.byteOffset, 1)[0] = AF_UNIX;
  bytes.write(path, 2);
  return bytes;
}

export function openUnixDatagram(path: string): Transport {
  const { socket, connect, send } = libc();
  const address = addressOf(path);
  const fd = socket(AF_UNIX, TYPE, 0);
  if (fd < 0) throw internal(`socket: errno ${koffi.errno()}`);
  const attach = (): boolean => connect(fd, address, address.length) === 0;
  if (!attach()) {
    const errno = koffi.errno();
    closeSync(fd);
    throw unavailable(`dial unixgram ${path}: errno ${errno}`);
  }
  /** True when there is nothing more to do for these bytes. */
  const attempt = (bytes: Buffer): boolean => {
    if (send(fd, bytes, bytes.length, FLAGS) >= 0) return true;
    const errno = koffi.errno();
    if (errno === koffi.os.errno.EAGAIN || errno === koffi.os.errno.ENOBUFS) return false;
    // The server came again under the same path; once more, then the message is lost.
    if (attach()) send(fd, bytes, bytes.length, FLAGS);
    return true;
  };
  let closed = false;
  let last: Promise<void> | undefined;
  const retry = async (bytes: Buffer): Promise<void> => {
    for (let tries = 0; tries < RETRIES && !closed; tries++) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      if (closed || attempt(bytes)) return;
    }
  };
  const write = (bytes: Buffer): Promise<void> | undefined => {
    if (closed) return undefined;
    // In order behind what waits.
    if (!last && attempt(bytes)) return undefined;
    const mine: Promise<void> = (last ?? Promise.resolve()).then(() =>
      closed || attempt(bytes) ? undefined : retry(bytes),
    );
    last = mine;
    void mine.finally(() => last === mine && (last = undefined));
    return mine;
  };
  return {
    write,
    async close() {
      await last;
      closed = true;
      closeSync(fd);
    },
  };
}

/** Network namespaces and netlink sockets, through libc: setns(2), unshare(2), netlink(7). Namespaces are a thread's own. */
import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { check, libc, socketCall, SyscallError } from './ffi.ts';

const CLONE_NEWNET = 0x40000000;
const setnsCall = libc('int setns(int fd, int kind)');
/** Moves the calling thread alone; where others wait for it, it must come back before it does anything else. */
export function enterNetworkNamespace(fd: number): void {
  check('setns', setnsCall(fd, CLONE_NEWNET));
}

const unshareCall = libc('int unshare(int flags)');
/** Moves the calling thread alone, into a new one. */
export function newNetworkNamespace(): void {
  check('unshare', unshareCall(CLONE_NEWNET));
}

const nameToIndexCall = libc('unsigned int if_nametoindex(const char *name)');
/** Index of a link in the calling thread's namespace; ENODEV when there is none of this name. */
export function linkIndex(name: string): number {
  const index = nameToIndexCall(name);
  if (index === 0) throw new SyscallError('if_nametoindex', koffi.errno(), name);
  return index;
}

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const setsockoptCall = libc('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)');
/** A rtnetlink(7) socket in the calling thread's namespace, which gives reasons with its errors where the kernel knows them. */
export function netlinkSocket(): number {
  const fd = check('socket', socketCall(AF_NETLINK, SOCK_RAW_CLOEXEC, 0));
  setsockoptCall(fd, SOL_NETLINK, NETLINK_EXT_ACK, Buffer.of(1, 0, 0, 0), 4);
  return fd;
}

const sendCall = libc('long send(int fd, const void *data, size_t size, int flags)');
export function netlinkSend(fd: number, data: Uint8Array): void {
  check('send', sendCall(fd, data, data.length, 0));
}

const recvCall = libc('long recv(int fd, _Out_ uint8_t *data, size_t size, int flags)');
const MSG_DONTWAIT = 0x40;
/** One datagram that is there already; returns its size. */
export const netlinkReceive = (fd: number, data: Buffer): number =>
  check('recv', recvCall(fd, data, data.length, MSG_DONTWAIT));

const AF_INET = 2;
const AF_INET6 = 10;
const NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const IPPROTO_SCTP = 132;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SOCKETS = { tcp: [1, 0], udp: [2, 0], sctp: [1, IPPROTO_SCTP] } as const;
const bindCall = libc('int bind(int fd, const void *address, unsigned int length)');
/**
 * A socket in the calling thread's namespace, bound to an address (four bytes or sixteen; one of IPv6 leaves IPv4 alone) and a
 * port (0: any). Nobody listens at it yet. See ip(7), ipv6(7), sctp(7).
 */
export function boundSocket(protocol: keyof typeof SOCKETS, address: Uint8Array, port: number): number {
  const v6 = address.length === 16;
  const family = v6 ? AF_INET6 : AF_INET;
  const name = Buffer.alloc(v6 ? 28 : 16);
  name.set(new Uint8Array(Uint16Array.of(family).buffer));
  name.writeUInt16BE(port, 2);
  name.set(address, v6 ? 8 : 4);
  const [type, number] = SOCKETS[protocol];
  const fd = check('socket', socketCall(family, type | NONBLOCK_CLOEXEC, number));
  try {
    if (v6) check('setsockopt', setsockoptCall(fd, IPPROTO_IPV6, IPV6_V6ONLY, Buffer.of(1, 0, 0, 0), 4));
    check('bind', bindCall(fd, name, name.length));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

const getsocknameCall = libc('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ unsigned int *length)');
/** The port that a socket is bound to. */
export function portOf(fd: number): number {
  const name = Buffer.alloc(28);
  check('getsockname', getsocknameCall(fd, name, [name.length]));
  return name.readUInt16BE(2);
}

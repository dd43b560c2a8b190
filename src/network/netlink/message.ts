/**
 * rtnetlink messages as bytes: a header, a family's fixed part, attributes. Pure. Layouts: netlink(7), rtnetlink(7), and the
 * kernel's include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,veth}.h. Numbers are in the machine's order: little-endian
 * on every machine that our way to libc (koffi) is built for.
 */

export const NLM_F = { REQUEST: 0x1, ACK: 0x4, EXCL: 0x200, REPLACE: 0x100, CREATE: 0x400 } as const;
export const RTM = { NEWLINK: 16, DELLINK: 17, NEWADDR: 20, NEWROUTE: 24 } as const;
export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  LINKINFO: 18,
  IFALIAS: 20,
  NET_NS_FD: 28,
  INFO_KIND: 1,
  INFO_DATA: 2,
  INFO_SLAVE_KIND: 4,
  INFO_SLAVE_DATA: 5,
  /** Hairpin, of a bridge's port. */
  BRPORT_MODE: 4,
  BRPORT_ISOLATED: 33,
  VETH_INFO_PEER: 1,
} as const;
export const IFA = { ADDRESS: 1, LOCAL: 2, FLAGS: 8, F_NODAD: 0x02 } as const;
export const RTA = { OIF: 4, GATEWAY: 5 } as const;
export const AF = { UNSPEC: 0, INET: 2, INET6: 10 } as const;
export const IFF_UP = 1;

const HEADER = 16;
const align = (length: number): number => (length + 3) & ~3;

/** One attribute; several values make a nested one. */
export function attribute(type: number, ...values: readonly Uint8Array[]): Buffer {
  const length = 4 + values.reduce((sum, value) => sum + value.length, 0);
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  let at = 4;
  for (const value of values) {
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}

export const u8 = (value: number): Buffer => Buffer.of(value);
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}
export const text = (value: string): Buffer => Buffer.from(`${value}\0`);

/** struct ifinfomsg. */
export function linkPart(index: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(flags, 12);
  return bytes;
}

/** struct ifaddrmsg; `scope` as in rtnetlink(7), 0 for everywhere. */
export function addressPart(family: number, bits: number, index: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = family;
  bytes[1] = bits;
  bytes.writeUInt32LE(index, 4);
  return bytes;
}

const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

/** struct rtmsg of a default route; a direct one has no gateway. */
export function routePart(family: number, direct: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = family;
  bytes[4] = RT_TABLE_MAIN;
  bytes[5] = RTPROT_BOOT;
  bytes[6] = direct && family === AF.INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  bytes[7] = RTN_UNICAST;
  return bytes;
}

/** A whole request that the kernel acknowledges. */
export function message(type: number, flags: number, sequence: number, ...parts: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(HEADER);
  const length = HEADER + parts.reduce((sum, part) => sum + part.length, 0);
  header.writeUInt32LE(length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags | NLM_F.REQUEST | NLM_F.ACK, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, ...parts]);
}

const NLMSG_ERROR = 2;
const CAPPED = 0x100;
const ACK_TLVS = 0x200;
const ERROR_TEXT = 1;

export interface Acknowledgement {
  sequence: number;
  /** 0 when it was done. */
  errno: number;
  /** What the kernel adds in words; often nothing. */
  words: string;
}

/** The acknowledgement in a datagram; undefined when there is none. */
export function readAcknowledgement(datagram: Buffer): Acknowledgement | undefined {
  for (let at = 0; at + HEADER <= datagram.length;) {
    const length = datagram.readUInt32LE(at);
    if (length < HEADER || at + length > datagram.length) return undefined;
    if (datagram.readUInt16LE(at + 4) === NLMSG_ERROR && length >= HEADER + 4) {
      const one = datagram.subarray(at, at + length);
      return { sequence: one.readUInt32LE(8), errno: Math.abs(one.readInt32LE(HEADER)), words: wordsOf(one) };
    }
    at += align(length);
  }
  return undefined;
}

/** NLMSGERR_ATTR_MSG, behind the error and the request it is about. */
function wordsOf(error: Buffer): string {
  const flags = error.readUInt16LE(6);
  if (!(flags & ACK_TLVS) || error.length < HEADER + 8) return '';
  let at = HEADER + 4 + (flags & CAPPED ? HEADER : align(error.readUInt32LE(HEADER + 4)));
  while (at + 4 <= error.length) {
    const length = error.readUInt16LE(at);
    if (length < 4 || at + length > error.length) return '';
    if (error.readUInt16LE(at + 2) === ERROR_TEXT)
      return error.toString('utf8', at + 4, at + length).replace(/\0+$/, '');
    at += align(length);
  }
  return '';
}

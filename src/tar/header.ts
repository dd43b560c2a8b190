/**
 * The tar header codec: ustar with the PAX and GNU extensions, as they occur in image layers (OCI image-spec layer.md,
 * pax(1), the GNU tar manual "Basic Tar Format"). Knows bytes only; parser.ts knows streams.
 *
 * Names are strings in the encoding the caller chose: `utf8` for names that are shown, `latin1` where each char stands for
 * one byte and any name of a Linux file must survive.
 */
import { invalid } from '../errors.ts';

export type TarType = 'file' | 'directory' | 'symlink' | 'link' | 'char' | 'block' | 'fifo';
export type NameEncoding = 'utf8' | 'latin1';

export interface TarHeader {
  name: string;
  type: TarType;
  /** Permission bits with setuid, setgid and sticky (07777). */
  mode: number;
  uid: number;
  gid: number;
  uname?: string;
  gname?: string;
  /** Bytes of the file, holes included. 0 for all but files. */
  size: number;
  /** Nanoseconds since the epoch. */
  mtimeNs: bigint;
  /** Target of symlinks and hard links, else empty. */
  linkname: string;
  major: number;
  minor: number;
  /** Raw values by full attribute name (security.capability, user.x …). */
  xattrs: Map<string, Buffer>;
  /** Set when the file has holes: the data parts in ascending order. */
  sparse?: { offset: number; size: number }[];
}

export const BLOCK = 512;
/** One PAX header, long name or sparse map; more is a bomb. */
export const METADATA_LIMIT = 1 << 20;

const TYPES: Record<string, TarType> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};
const FLAGS: Record<TarType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

export const typeOfFlag = (flag: string): TarType | undefined => TYPES[flag];

/** Octal, or base 256 when the first bit is set. */
export function readNumber(block: Buffer, at: number, length: number): number {
  const first = block[at]!;
  if (first & 0x80) {
    let value = first & 0x40 ? -1n : BigInt(first & 0x3f);
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[at + i]!);
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
      throw invalid('archive/tar: number out of range', { code: 'bad-archive' });
    }
    return Number(value);
  }
  const digits = readText(block, at, length, 'latin1').trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw invalid('archive/tar: invalid tar header', { code: 'bad-archive' });
  return parseInt(digits, 8);
}

export function readText(block: Buffer, at: number, length: number, encoding: NameEncoding): string {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return block.toString(encoding, at, end);
}

function checkSum(block: Buffer): void {
  const wanted = readNumber(block, 148, 8);
  let unsigned = 8 * 32;
  let signed = 8 * 32;
  for (let i = 0; i < BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[i]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  if (wanted !== unsigned && wanted !== signed) {
    throw invalid('archive/tar: invalid tar header', { code: 'bad-archive' });
  }
}

/** The fields of one header block, before PAX and GNU extensions are applied. */
export interface RawHeader extends Omit<TarHeader, 'type'> {
  flag: string;
}

export function decodeBlock(block: Buffer, encoding: NameEncoding): RawHeader {
  checkSum(block);
  const flag = String.fromCharCode(block[156]!);
  let name = readText(block, 0, 100, encoding);
  const ustar = block.toString('latin1', 257, 263) === 'ustar\0';
  const gnu = block.toString('latin1', 257, 263) === 'ustar ';
  if (ustar) {
    const prefix = readText(block, 345, 155, encoding);
    if (prefix) name = `${prefix}/${name}`;
  }
  const extended = ustar || gnu;
  const device = flag === '3' || flag === '4';
  return {
    flag,
    name,
    mode: readNumber(block, 100, 8) & 0o7777,
    uid: readNumber(block, 108, 8),
    gid: readNumber(block, 116, 8),
    size: readNumber(block, 124, 12),
    mtimeNs: BigInt(readNumber(block, 136, 12)) * 1_000_000_000n,
    linkname: readText(block, 157, 100, encoding),
    uname: extended ? readText(block, 265, 32, encoding) : '',
    gname: extended ? readText(block, 297, 32, encoding) : '',
    major: device && extended ? readNumber(block, 329, 8) : 0,
    minor: device && extended ? readNumber(block, 337, 8) : 0,
    xattrs: new Map(),
  };
}

/** Records of a PAX header: "<length> <key>=<value>\n", values raw. Repeated keys keep their order (sparse format 0.0). */
export function decodePax(bytes: Buffer): [string, Buffer][] {
  const records: [string, Buffer][] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) break;
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? NaN : Number(bytes.toString('latin1', at, space));
    const end = at + length;
    if (!Number.isInteger(length) || length < 5 || end > bytes.length || bytes[end - 1] !== 0x0a) {
      throw invalid('archive/tar: invalid PAX record', { code: 'bad-archive' });
    }
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw invalid('archive/tar: invalid PAX record', { code: 'bad-archive' });
    records.push([bytes.toString('utf8', space + 1, equals), Buffer.from(bytes.subarray(equals + 1, end - 1))]);
    at = end;
  }
  return records;
}

/** "1350244992.023960108" in nanoseconds. */
export function parsePaxTime(text: string): bigint {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text);
  if (!match) throw invalid('archive/tar: invalid PAX time', { code: 'bad-archive' });
  const nano = BigInt(match[2]!) * 1_000_000_000n + BigInt((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  return match[1] ? -nano : nano;
}

function paxRecord(key: string, value: Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = tail.length + 1;
  while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
  return Buffer.concat([Buffer.from(String(length)), tail]);
}

const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;

function paxTime(nano: bigint): string {
  const size = nano < 0n ? -nano : nano;
  const fraction = String(size % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${nano < 0n ? '-' : ''}${size / 1_000_000_000n}${fraction && '.'}${fraction}`;
}

function paxRecords(header: TarHeader, encoding: NameEncoding): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: Buffer | string): void => {
    records.push(paxRecord(key, typeof value === 'string' ? Buffer.from(value) : value));
  };
  const name = Buffer.from(header.name, encoding);
  const link = Buffer.from(header.linkname, encoding);
  const plain = (bytes: Buffer): boolean => bytes.length <= 100 && bytes.every((byte) => byte < 0x80);
  if (!plain(name)) add('path', name);
  if (!plain(link)) add('linkpath', link);
  if (header.uid > MAX_OCTAL_7) add('uid', String(header.uid));
  if (header.gid > MAX_OCTAL_7) add('gid', String(header.gid));
  if (header.size > MAX_OCTAL_11) add('size', String(header.size));
  const seconds = header.mtimeNs / 1_000_000_000n;
  if (header.mtimeNs < 0n || header.mtimeNs % 1_000_000_000n !== 0n || seconds > BigInt(MAX_OCTAL_11)) {
    add('mtime', paxTime(header.mtimeNs));
  }
  for (const key of [...header.xattrs.keys()].sort()) add(`SCHILY.xattr.${key}`, header.xattrs.get(key)!);
  return records;
}

function encodeBlock(fields: { header: TarHeader; name: Buffer; link: Buffer; flag: string; size: number }): Buffer {
  const { header } = fields;
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number, max: number): void => {
    const fit = value >= 0 && value <= max ? value : 0;
    block.write(fit.toString(8).padStart(length - 1, '0'), at, length - 1, 'latin1');
  };
  fields.name.copy(block, 0, 0, 100);
  octal(header.mode & 0o7777, 100, 8, MAX_OCTAL_7);
  octal(header.uid, 108, 8, MAX_OCTAL_7);
  octal(header.gid, 116, 8, MAX_OCTAL_7);
  octal(fields.size, 124, 12, MAX_OCTAL_11);
  octal(Number(header.mtimeNs / 1_000_000_000n), 136, 12, MAX_OCTAL_11);
  block.write(fields.flag, 156, 'latin1');
  fields.link.copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  block.write(header.uname ?? '', 265, 31, 'utf8');
  block.write(header.gname ?? '', 297, 31, 'utf8');
  octal(header.major, 329, 8, MAX_OCTAL_7);
  octal(header.minor, 337, 8, MAX_OCTAL_7);
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Bytes up to the next block boundary. */
export const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

/** The two zero blocks that end an archive. */
export const END_OF_ARCHIVE: Uint8Array = new Uint8Array(2 * BLOCK);

/** All blocks before the file's data: a PAX header when something does not fit, and the ustar block. */
export function encodeHeader(header: TarHeader, encoding: NameEncoding = 'utf8'): Buffer {
  const name = Buffer.from(header.name, encoding);
  const link = Buffer.from(header.linkname, encoding);
  const size = header.type === 'file' ? header.size : 0;
  const block = encodeBlock({ header, name, link, flag: FLAGS[header.type], size });
  const records = paxRecords(header, encoding);
  if (!records.length) return block;
  const body = Buffer.concat(records);
  const paxHeader = { ...header, mode: 0o644, uid: 0, gid: 0, major: 0, minor: 0 };
  const base = Buffer.from(
    `PaxHeaders.0/${name
      .subarray(-80)
      .toString('latin1')
      .replace(/[^\x20-\x7e]/g, '_')
      .split('/')
      .join('_')}`,
  );
  return Buffer.concat([
    encodeBlock({ header: paxHeader, name: base, link: Buffer.alloc(0), flag: 'x', size: body.length }),
    body,
    Buffer.alloc(padding(body.length)),
    block,
  ]);
}

/** A header with everything but the name at its default. */
export function tarHeader(fields: Partial<TarHeader> & { name: string }): TarHeader {
  const type = fields.type ?? 'file';
  return {
    type,
    mode: type === 'directory' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeNs: 0n,
    linkname: '',
    major: 0,
    minor: 0,
    xattrs: new Map(),
    ...fields,
  };
}

/**
 * Names of files as strings, whatever bytes they are: what is no UTF-8 has each odd byte as a lone surrogate (U+DC80 to U+DCFF),
 * and is turned back for the system's calls.
 */
import fs from 'node:fs';

const ESCAPE = 0xdc00;

function escaped(bytes: Buffer): string {
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const length = sequenceAt(bytes, at);
    text += length ? bytes.toString('utf8', at, at + length) : String.fromCharCode(ESCAPE | bytes[at]!);
    at += length || 1;
  }
  return text;
}

/** As a string, whatever the bytes are. */
export function nameOf(bytes: Buffer): string {
  const name = bytes.toString('utf8');
  return name.includes('\uFFFD') ? escaped(bytes) : name;
}

/** Bytes of the well-formed character that begins here, or 0. */
function sequenceAt(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return length && !bytes.toString('utf8', at, at + length).includes('\uFFFD') ? length : 0;
}

/** Names in order, so that digests and layers do not depend on the file system's. */
export function namesIn(directory: string): string[] {
  const place = native(directory);
  const names = fs.readdirSync(place).sort();
  // Only a name that is no UTF-8 (or has this very character) is worth a second look.
  if (!names.some((name) => name.includes('\uFFFD'))) return names;
  return fs.readdirSync(place, { encoding: 'buffer' }).map(escaped).sort();
}

/** What the system is told. */
export function native(path: string): string | Buffer {
  if (path.isWellFormed()) return path;
  const parts = [...path].map((char) => {
    const code = char.charCodeAt(0);
    return char.length === 1 && code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff
      ? Buffer.of(code & 0xff)
      : Buffer.from(char);
  });
  return Buffer.concat(parts);
}

/** The same for calls through the FFI, which takes a NUL-ended buffer wherever it takes a string. */
export const nativeNul = (path: string): Buffer & string =>
  Buffer.concat([Buffer.from(native(path)), Buffer.of(0)]) as Buffer & string;

/** Where a link leads. */
export function linkTarget(path: string): string {
  const target = fs.readlinkSync(native(path));
  return target.includes('\uFFFD') ? escaped(fs.readlinkSync(native(path), { encoding: 'buffer' })) : target;
}

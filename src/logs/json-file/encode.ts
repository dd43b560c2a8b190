/**
 * Lines of the json-file format, `{"log":"…\n","stream":"stdout","time":"…"}`, many at a time. Text that needs no
 * escaping (most of what is logged) is copied as a whole, and only its newlines are replaced. Pure.
 */
import { isAscii } from 'node:buffer';
import type { LogStream } from '../port.ts';

// Go's encoder also escapes what could end a script element or a JavaScript line.
const SPECIAL = /[\\"<>&\u2028\u2029\x00-\x09\x0b-\x1f]/;
const SPECIALS = new RegExp(SPECIAL, 'g');

const SHORT: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\r': '\\r', '\t': '\\t' };
const escape = (char: string): string => SHORT[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;

const PREFIX = '{"log":"';

/** `attributes` is the ready JSON object of the log's own attributes, or ''. */
const suffix = (stream: LogStream, attributes: string, time: string): string =>
  `","stream":"${stream}"${attributes && `,"attrs":${attributes}`},"time":"${time}"}\n`;

function textOf(bytes: Buffer): { text: string; encoding: 'latin1' | 'utf8' } {
  if (isAscii(bytes)) return { text: bytes.toString('latin1'), encoding: 'latin1' };
  return { text: bytes.toString('utf8'), encoding: 'utf8' };
}

/** `lines` are whole lines, the last one's "\n" included; none is longer than a part may be. */
export function encodeLines(lines: Buffer, stream: LogStream, attributes: string, time: string): Buffer {
  const { text, encoding } = textOf(lines);
  const escaped = SPECIAL.test(text) ? text.replace(SPECIALS, escape) : text;
  const end = `\\n${suffix(stream, attributes, time)}`;
  // A function, so that a `$` in what is put in stays one.
  const between = end + PREFIX;
  return Buffer.from(PREFIX + escaped.slice(0, -1).replaceAll('\n', () => between) + end, encoding);
}

/** A part of a line, with or without its "\n". */
export function encodePart(part: Buffer, stream: LogStream, attributes: string, time: string): Buffer {
  const { text, encoding } = textOf(part);
  const escaped = text.replace(SPECIALS, escape).replace('\n', '\\n');
  return Buffer.from(PREFIX + escaped + suffix(stream, attributes, time), encoding);
}

/**
 * Lines of the json-file format, `{"log":"…\n","stream":"stdout","time":"…"}`, many at a time: a chunk is escaped as one
 * string by the engine's own JSON encoder, and each newline in it becomes the end of one record and the beginning of the
 * next. Pure.
 */
import { isAscii } from 'node:buffer';
import type { LogStream } from '../port.ts';

const BACKSLASH = 0x5c;
/** Go's encoder escapes these, which could end a script element or a JavaScript line; JSON.stringify does not. */
const ALSO = /[<>&\u2028\u2029]/g;
const [LESS, GREATER, AMPERSAND] = [0x3c, 0x3e, 0x26];

const escape = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;

const PREFIX = '{"log":"';

/** `attributes` is the ready JSON object of the log's own attributes, or ''. */
const suffix = (stream: LogStream, attributes: string, time: string): string =>
  `","stream":"${stream}"${attributes && `,"attrs":${attributes}`},"time":"${time}"}\n`;

interface Escaped {
  text: string;
  encoding: 'latin1' | 'utf8';
}

function escaped(bytes: Buffer): Escaped {
  const encoding = isAscii(bytes) ? 'latin1' : 'utf8';
  const text = JSON.stringify(bytes.toString(encoding)).slice(1, -1);
  const rare = encoding === 'utf8' || bytes.includes(LESS) || bytes.includes(GREATER) || bytes.includes(AMPERSAND);
  return { text: rare ? text.replace(ALSO, escape) : text, encoding };
}

/** `lines` are whole lines, the last one's "\n" included; none is longer than a part may be. */
export function encodeLines(lines: Buffer, stream: LogStream, attributes: string, time: string): Buffer {
  const end = `\\n${suffix(stream, attributes, time)}`;
  // A `$` in a replacement would mean something.
  const between = (end + PREFIX).replaceAll('$', '$$$$');
  const { text, encoding } = escaped(lines);
  const inner = text.slice(0, -2);
  // Where the text itself has backslashes, `\\n` may be one of them followed by an n.
  const records = lines.includes(BACKSLASH)
    ? inner.replace(/\\(.)/g, (pair, char: string) => (char === 'n' ? end + PREFIX : pair))
    : inner.replaceAll('\\n', between);
  return Buffer.from(PREFIX + records + end, encoding);
}

/** A part of a line, with or without its "\n". */
export function encodePart(part: Buffer, stream: LogStream, attributes: string, time: string): Buffer {
  const { text, encoding } = escaped(part);
  return Buffer.from(PREFIX + text + suffix(stream, attributes, time), encoding);
}

/** Entries as clients get them: in frames or raw, with the time and the attributes before each line when asked for. Pure. */
import type { LogEntry } from './port.ts';
import { formatNano } from './time.ts';

export interface Rendering {
  /** No frames. */
  raw: boolean;
  timestamps: boolean;
  details: boolean;
}

const HEADER = 8;

function prefixOf(entry: LogEntry, { timestamps, details }: Rendering): string {
  let prefix = timestamps ? `${formatNano(entry.timeNano)} ` : '';
  if (details) {
    const pairs = Object.entries(entry.attributes ?? {}).map(([name, value]) => `${encode(name)}=${encode(value)}`);
    prefix += `${pairs.sort().join(',')} `;
  }
  return prefix;
}

/** As Go's url.QueryEscape. */
const encode = (value: string): string =>
  encodeURIComponent(value)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');

/** A whole batch in one buffer. */
export function renderBatch(batch: LogEntry[], rendering: Rendering): Buffer {
  const header = rendering.raw ? 0 : HEADER;
  const plain = !rendering.timestamps && !rendering.details;
  const prefixes = plain ? undefined : batch.map((entry) => Buffer.from(prefixOf(entry, rendering)));
  let size = 0;
  for (let index = 0; index < batch.length; index++) {
    size += header + batch[index]!.line.length + (prefixes ? prefixes[index]!.length : 0);
  }
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (let index = 0; index < batch.length; index++) {
    const { line, stream } = batch[index]!;
    const prefix = prefixes?.[index];
    if (header) {
      bytes.writeUInt32BE(stream === 'stdout' ? 0x01000000 : 0x02000000, at);
      bytes.writeUInt32BE(line.length + (prefix?.length ?? 0), at + 4);
      at += HEADER;
    }
    if (prefix) {
      bytes.set(prefix, at);
      at += prefix.length;
    }
    bytes.set(line, at);
    at += line.length;
  }
  return bytes;
}

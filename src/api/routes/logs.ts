/** GET /containers/{name}/logs: past lines from the log's files, and new ones as they are written. */
import { invalid } from '../../errors.ts';
import type { LogConfig, LogDrivers, LogEntry, LogInfo, ReadOptions } from '../../logs/port.ts';
import { formatNano } from '../../logs/time.ts';
import {
  type Api,
  type ApiContext,
  MULTIPLEXED,
  RAW_STREAM,
  atLeast,
  byteStream,
  flag,
  text,
  timestamp,
} from '../kit.ts';

/** What the logs of a container are found by. */
export interface LogTarget {
  id: string;
  tty: boolean;
  logConfig: LogConfig;
  info: LogInfo;
}

export interface LogsService {
  drivers: Pick<LogDrivers, 'batches'>;
  /** Throws notFound ("No such container: x"), or conflict when its log is going away. */
  logTarget(name: string): LogTarget | Promise<LogTarget>;
}

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

function optionsOf(c: ApiContext): ReadOptions {
  const [stdout, stderr] = [flag(c, 'stdout'), flag(c, 'stderr')];
  if (!stdout && !stderr) throw invalid('Bad parameters: you must choose at least one stream');
  const tail = Number(text(c, 'tail') ?? 'all');
  return {
    stdout,
    stderr,
    sinceNano: timestamp(c, 'since') || undefined,
    untilNano: timestamp(c, 'until') || undefined,
    tail: Number.isInteger(tail) && tail >= 0 ? tail : -1,
    follow: flag(c, 'follow'),
    signal: c.get('gone'),
  };
}

async function* rendered(batches: AsyncIterable<LogEntry[]>, rendering: Rendering): AsyncGenerator<Uint8Array> {
  for await (const batch of batches) yield renderBatch(batch, rendering);
}

export function logRoutes(api: Api, service: LogsService): void {
  api.get('/containers/:name/logs', async (c) => {
    const target = await service.logTarget(c.req.param('name'));
    const options = optionsOf(c);
    const rendering = { raw: target.tty, timestamps: flag(c, 'timestamps'), details: flag(c, 'details') };
    const batches = service.drivers.batches(target.logConfig, target.info, options);
    const framed = !target.tty && atLeast(c, '1.42');
    return byteStream(c, rendered(batches, rendering), framed ? MULTIPLEXED : RAW_STREAM);
  });
}

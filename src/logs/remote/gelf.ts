/** The gelf driver (Graylog Extended Log Format 1.1): udp in chunks, compressed, or tcp. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { deflateSync, gzipSync } from 'node:zlib';
import type { Logger } from 'pino';
import { invalid } from '../../errors.ts';
import { type Options, integerOption } from '../options.ts';
import type { LogInfo } from '../port.ts';
import { attributesOf, tagOf } from '../tag.ts';
import { openStream, openUdp } from './connection.ts';
import type { Message, MessageSink } from './writer.ts';

export const GELF_KEYS = [
  'gelf-address',
  'gelf-compression-type',
  'gelf-compression-level',
  'gelf-tcp-max-reconnect',
  'gelf-tcp-reconnect-delay',
] as const;

/** Payload of one datagram; larger messages go in chunks, at most 128 of them. */
const CHUNK = 1420;
const MAX_CHUNKS = 128;
const CHUNK_MAGIC = [0x1e, 0x0f];
const LEVEL = { stdout: 6, stderr: 3 } as const;

export function gelfAddress(text: string | undefined): { protocol: 'udp' | 'tcp'; host: string; port: number } {
  if (!text) throw invalid('gelf-address is a required parameter');
  const match = /^([a-z]+):\/\/(\[[^\]]+\]|[^:/]+):(\d+)$/.exec(text);
  if (!match) throw invalid(`gelf: please provide gelf-address as proto://host:port, got ${text}`);
  const [, protocol, host, port] = match as unknown as [string, string, string, string];
  if (protocol !== 'udp' && protocol !== 'tcp') throw invalid(`gelf: endpoint needs to be TCP or UDP, got ${protocol}`);
  return { protocol, host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

export function checkGelf(options: Options): void {
  const { protocol } = gelfAddress(options['gelf-address']);
  const type = options['gelf-compression-type'];
  if (type !== undefined && protocol === 'tcp') throw invalid('compression is only supported on UDP');
  if (type !== undefined && !['gzip', 'zlib', 'none'].includes(type)) {
    throw invalid(`unknown value "${type}" for log opt "gelf-compression-type" for gelf log driver`);
  }
  const level = integerOption(options, 'gelf-compression-level', 1);
  if (level < -1 || level > 9) throw invalid('gelf-compression-level must be between -1 and 9');
  for (const name of ['gelf-tcp-max-reconnect', 'gelf-tcp-reconnect-delay']) {
    if (options[name] !== undefined && protocol === 'udp') throw invalid(`"${name}" is only supported on TCP`);
    if (integerOption(options, name, 0) < 0) throw invalid(`${name} must not be negative`);
  }
}

/** The fields that all messages of a container share. */
export function gelfBase(options: Options, info: LogInfo): Record<string, string> {
  const base: Record<string, string> = {
    _command: info.command.join(' '),
    _container_id: info.containerId,
    _container_name: info.name.replace(/^\//, ''),
    _created: info.created,
    _image_id: info.imageId,
    _image_name: info.imageName,
    _tag: tagOf(options, info, '{{.ID}}'),
  };
  for (const [name, value] of Object.entries(attributesOf(options, info))) base[`_${name}`] = value;
  return base;
}

export const gelfMessage = (message: Message, base: Record<string, string>, host: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      version: '1.1',
      host,
      short_message: message.line.toString('utf8'),
      timestamp: Number(message.timeNano / 1_000_000n) / 1000,
      level: LEVEL[message.stream],
      ...base,
    }),
  );

/** One datagram, or numbered chunks; nothing when it would be too many. */
export function gelfChunks(payload: Buffer, id: Buffer): Buffer[] {
  if (payload.length <= CHUNK) return [payload];
  const count = Math.ceil(payload.length / CHUNK);
  if (count > MAX_CHUNKS) return [];
  return Array.from({ length: count }, (_, index) =>
    Buffer.concat([
      Buffer.from(CHUNK_MAGIC),
      id,
      Buffer.from([index, count]),
      payload.subarray(index * CHUNK, (index + 1) * CHUNK),
    ]),
  );
}

function packer(options: Options): (bytes: Buffer) => Buffer {
  const level = integerOption(options, 'gelf-compression-level', 1);
  const type = options['gelf-compression-type'] ?? 'gzip';
  if (type === 'none') return (bytes) => bytes;
  return type === 'zlib' ? (bytes) => deflateSync(bytes, { level }) : (bytes) => gzipSync(bytes, { level });
}

export async function openGelf(options: Options, info: LogInfo, log: Logger): Promise<MessageSink> {
  const { protocol, host: target, port } = gelfAddress(options['gelf-address']);
  const base = gelfBase(options, info);
  const host = hostname();
  if (protocol === 'tcp') {
    const retries = integerOption(options, 'gelf-tcp-max-reconnect', 3);
    const retryMs = integerOption(options, 'gelf-tcp-reconnect-delay', 1) * 1000;
    const out = await openStream({ address: { host: target, port }, log, retries, retryMs });
    return {
      send: (message) =>
        message.line.length ? out.write(Buffer.concat([gelfMessage(message, base, host), Buffer.of(0)])) : undefined,
      close: () => out.close(),
    };
  }
  const out = await openUdp(target, port, log);
  const pack = packer(options);
  return {
    send(message) {
      if (!message.line.length) return undefined;
      let wait: Promise<void> | undefined;
      for (const chunk of gelfChunks(pack(gelfMessage(message, base, host)), randomBytes(8)))
        wait = out.write(chunk) ?? wait;
      return wait;
    },
    close: () => out.close(),
  };
}

/** The fluentd driver: fluentd's forward protocol, message mode, in msgpack. */
import type { Logger } from 'pino';
import { invalid } from '../../errors.ts';
import { type Options, booleanOption, durationOption, integerOption, sizeOption } from '../options.ts';
import type { LogInfo } from '../port.ts';
import { attributesOf, tagOf } from '../tag.ts';
import { type StreamAddress, openStream } from './connection.ts';
import { EventTime, encodeMsgpack } from './msgpack.ts';
import type { Message, MessageSink } from './writer.ts';

export const FLUENTD_KEYS = [
  'fluentd-address',
  'fluentd-async',
  'fluentd-async-connect',
  'fluentd-async-reconnect-interval',
  'fluentd-buffer-limit',
  'fluentd-max-retries',
  'fluentd-request-ack',
  'fluentd-retry-wait',
  'fluentd-sub-second-precision',
  'fluentd-write-timeout',
] as const;

const PORT = 24224;

export function fluentdAddress(text: string | undefined): { address: StreamAddress; tls: boolean } {
  if (!text) return { address: { host: '127.0.0.1', port: PORT }, tls: false };
  const match = /^(?:([a-z]+):\/\/)?([\s\S]*)$/.exec(text)!;
  const protocol = match[1] ?? 'tcp';
  const rest = match[2]!;
  if (protocol === 'unix') {
    if (!rest) throw invalid(`invalid fluentd-address (${text}): path is empty`);
    return { address: { path: rest }, tls: false };
  }
  if (protocol !== 'tcp' && protocol !== 'tls')
    throw invalid(`invalid fluentd-address (${text}): unsupported scheme: '${protocol}'`);
  const target = /^(\[[^\]]+\]|[^:/]*)(?::(\d+))?$/.exec(rest);
  if (!target) throw invalid(`invalid fluentd-address (${text})`);
  const host = target[1]!.replace(/^\[|\]$/g, '') || '127.0.0.1';
  return { address: { host, port: Number(target[2] ?? PORT) }, tls: protocol === 'tls' };
}

interface Settings {
  background: boolean;
  limit: number;
  retries: number;
  retryMs: number;
  subSecond: boolean;
}

export function fluentdSettings(options: Options): Settings {
  fluentdAddress(options['fluentd-address']);
  const background =
    booleanOption(options, 'fluentd-async', false) || booleanOption(options, 'fluentd-async-connect', false);
  if (booleanOption(options, 'fluentd-request-ack', false)) throw invalid('fluentd-request-ack is not supported');
  durationOption(options, 'fluentd-write-timeout', 0);
  durationOption(options, 'fluentd-async-reconnect-interval', 0);
  return {
    background,
    limit: sizeOption(options, 'fluentd-buffer-limit', 1 << 20),
    retries: integerOption(options, 'fluentd-max-retries', Number.MAX_SAFE_INTEGER),
    retryMs: durationOption(options, 'fluentd-retry-wait', 1000),
    subSecond: booleanOption(options, 'fluentd-sub-second-precision', false),
  };
}

export function fluentdMessage(
  message: Message,
  tag: string,
  base: Record<string, string>,
  subSecond: boolean,
): Buffer {
  const record: Record<string, string> = { ...base, source: message.stream, log: message.line.toString('utf8') };
  if (message.partial) record.partial_message = 'true';
  const time = subSecond ? new EventTime(message.timeNano) : Number(message.timeNano / 1_000_000_000n);
  return encodeMsgpack([tag, time, record, {}]);
}

export async function openFluentd(options: Options, info: LogInfo, log: Logger): Promise<MessageSink> {
  const { address, tls } = fluentdAddress(options['fluentd-address']);
  const { subSecond, ...settings } = fluentdSettings(options);
  const tag = tagOf(options, info, '{{.ID}}');
  const base = { container_id: info.containerId, container_name: info.name, ...attributesOf(options, info) };
  const out = await openStream({ address, tls: tls ? {} : undefined, log, ...settings });
  return { send: (message) => out.write(fluentdMessage(message, tag, base, subSecond)), close: () => out.close() };
}

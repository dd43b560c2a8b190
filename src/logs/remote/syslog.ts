/** The syslog driver: RFC 3164 and 5424 over udp, tcp, tls and unix sockets. */
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { ConnectionOptions } from 'node:tls';
import type { Logger } from 'pino';
import { internal, invalid } from '../../errors.ts';
import type { Options } from '../options.ts';
import type { LogInfo } from '../port.ts';
import { tagOf } from '../tag.ts';
import { formatNano } from '../time.ts';
import { type Transport, openStream, openUdp } from './connection.ts';
import { openUnixDatagram } from './unix-datagram.ts';
import type { Message, MessageSink } from './writer.ts';

export const SYSLOG_KEYS = [
  'syslog-address',
  'syslog-facility',
  'syslog-format',
  'syslog-tls-ca-cert',
  'syslog-tls-cert',
  'syslog-tls-key',
  'syslog-tls-skip-verify',
] as const;

const FACILITIES =
  'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7'.split(
    ' ',
  );
const LOCAL_SOCKETS = ['/dev/log', '/var/run/syslog', '/var/run/log'];
const DAEMON = 3;
const SEVERITY = { stdout: 6, stderr: 3 } as const;

export type SyslogAddress =
  | { protocol: 'udp' | 'tcp' | 'tcp+tls'; host: string; port: number }
  | { protocol: 'unix' | 'unixgram'; path: string }
  | { protocol: 'local' };

export function syslogAddress(text: string | undefined): SyslogAddress {
  if (!text) return { protocol: 'local' };
  const match = /^([a-z+]+):\/\/(.*)$/.exec(text);
  if (!match) throw invalid(`syslog-address should be in form proto://address, got ${text}`);
  const [, protocol, rest] = match as unknown as [string, string, string];
  if (protocol === 'unix' || protocol === 'unixgram') {
    if (!existsSync(rest)) throw invalid(`stat ${rest}: no such file or directory`);
    return { protocol, path: rest };
  }
  if (protocol !== 'udp' && protocol !== 'tcp' && protocol !== 'tcp+tls')
    throw invalid(`unsupported scheme: '${protocol}'`);
  const target = /^(\[[^\]]+\]|[^:/]+)(?::(\d+))?$/.exec(rest);
  if (!target) throw invalid(`syslog-address ${text}: invalid host`);
  return { protocol, host: target[1]!.replace(/^\[|\]$/g, ''), port: Number(target[2] ?? 514) };
}

export function syslogFacility(text: string | undefined): number {
  if (!text) return DAEMON;
  const number = /^\d+$/.test(text) ? Number(text) : FACILITIES.indexOf(text);
  if (number < 0 || number > 23 || text === '-') throw invalid('invalid syslog facility');
  return number;
}

const FORMATS = ['', 'rfc3164', 'rfc5424', 'rfc5424micro'] as const;
export type SyslogFormat = (typeof FORMATS)[number];

export function syslogFormat(text: string | undefined): SyslogFormat {
  const format = FORMATS.find((known) => known === (text ?? ''));
  if (format === undefined) throw invalid('Invalid syslog format');
  return format;
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

function stamp(nano: bigint): string {
  const date = new Date(Number(nano / 1_000_000n));
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2, ' ')} ${time}`;
}

export interface SyslogIdentity {
  facility: number;
  format: SyslogFormat;
  tag: string;
  host: string;
  pid: number;
}

export function syslogLine(message: Message, identity: SyslogIdentity): Buffer {
  const { format, tag, host, pid, facility } = identity;
  const priority = `<${facility * 8 + SEVERITY[message.stream]}>`;
  const time = formatNano(message.timeNano);
  const heads: Record<SyslogFormat, () => string> = {
    '': () => `${priority}${stamp(message.timeNano)} ${tag}[${pid}]: `,
    rfc3164: () => `${priority}${stamp(message.timeNano)} ${host} ${tag}[${pid}]: `,
    rfc5424: () => `${priority}1 ${time.slice(0, 19)}Z ${host} ${tag} ${pid} ${tag} - `,
    rfc5424micro: () => `${priority}1 ${time.slice(0, 26)}Z ${host} ${tag} ${pid} ${tag} - `,
  };
  return Buffer.concat([Buffer.from(heads[format]()), message.line, Buffer.from('\n')]);
}

function tlsOptions(options: Options): ConnectionOptions {
  const file = (name: string): Buffer | undefined => (options[name] ? readFileSync(options[name]) : undefined);
  return {
    ca: file('syslog-tls-ca-cert'),
    cert: file('syslog-tls-cert'),
    key: file('syslog-tls-key'),
    rejectUnauthorized: options['syslog-tls-skip-verify'] === undefined,
  };
}

async function transport(options: Options, log: Logger): Promise<Transport> {
  const address = syslogAddress(options['syslog-address']);
  const retry = { log, retryMs: 1_000, retries: Infinity };
  switch (address.protocol) {
    case 'udp':
      return openUdp(address.host, address.port, log);
    case 'tcp':
      return openStream({ address, ...retry });
    case 'tcp+tls':
      return openStream({ address, tls: { servername: address.host, ...tlsOptions(options) }, ...retry });
    case 'unix':
      return openStream({ address, ...retry });
    case 'unixgram':
      return openUnixDatagram(address.path);
    case 'local': {
      const path = LOCAL_SOCKETS.find((candidate) => existsSync(candidate));
      if (!path) throw internal('Unix syslog delivery error');
      return openUnixDatagram(path);
    }
  }
}

export async function openSyslog(options: Options, info: LogInfo, log: Logger): Promise<MessageSink> {
  const format = syslogFormat(options['syslog-format']);
  const identity = {
    facility: syslogFacility(options['syslog-facility']),
    format,
    tag: tagOf(options, info, '{{.ID}}'),
    host: hostname(),
    pid: process.pid,
  };
  // RFC 5425: over TLS a message is preceded by its length.
  const counted = format.startsWith('rfc5424') && (options['syslog-address'] ?? '').startsWith('tcp+tls:');
  const out = await transport(options, log);
  return {
    send(message) {
      const line = syslogLine(message, identity);
      return out.write(counted ? Buffer.concat([Buffer.from(`${line.length} `), line]) : line);
    },
    close: () => out.close(),
  };
}

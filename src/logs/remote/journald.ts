/** The journald driver: systemd's native protocol, one datagram of fields a line. systemd.io/JOURNAL_NATIVE_PROTOCOL. */
import { existsSync } from 'node:fs';
import { internal } from '../../errors.ts';
import { shortId } from '../../lib/ids.ts';
import type { Options } from '../options.ts';
import type { LogInfo } from '../port.ts';
import { attributesOf, tagOf } from '../tag.ts';
import { openUnixDatagram } from './unix-datagram.ts';
import type { Message, MessageSink } from './writer.ts';

export const JOURNAL_SOCKET = '/run/systemd/journal/socket';
const PRIORITY = { stdout: '6', stderr: '3' } as const;

/** Field names are upper case letters, digits and underscores, and do not begin with one. */
const fieldName = (name: string): string =>
  name
    .toUpperCase()
    .replace(/[^A-Z0-9_]/g, '_')
    .replace(/^_+/, '');

/** "NAME=value\n", or with a length when the value has lines of its own. */
export function journalField(name: string, value: Buffer): Buffer {
  if (!value.includes(10)) return Buffer.concat([Buffer.from(`${name}=`), value, Buffer.of(10)]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`), length, value, Buffer.of(10)]);
}

export function journalBase(options: Options, info: LogInfo): Buffer {
  const tag = tagOf(options, info, '{{.ID}}');
  const fields: Record<string, string> = {
    CONTAINER_ID: shortId(info.containerId),
    CONTAINER_ID_FULL: info.containerId,
    CONTAINER_NAME: info.name.replace(/^\//, ''),
    CONTAINER_TAG: tag,
    IMAGE_NAME: info.imageName,
    SYSLOG_IDENTIFIER: tag,
  };
  for (const [name, value] of Object.entries(attributesOf(options, info)))
    if (fieldName(name)) fields[fieldName(name)] = value;
  return Buffer.concat(Object.entries(fields).map(([name, value]) => journalField(name, Buffer.from(value))));
}

export function journalMessage(message: Message, base: Buffer): Buffer {
  const fields = [
    journalField('PRIORITY', Buffer.from(PRIORITY[message.stream])),
    journalField('MESSAGE', message.line),
    base,
  ];
  if (message.partial) fields.push(journalField('CONTAINER_PARTIAL_MESSAGE', Buffer.from('true')));
  return Buffer.concat(fields);
}

export async function openJournald(options: Options, info: LogInfo, socket = JOURNAL_SOCKET): Promise<MessageSink> {
  if (!existsSync(socket)) throw internal('journald is not enabled on this host');
  const base = journalBase(options, info);
  const out = openUnixDatagram(socket);
  return {
    // Empty lines are no entries.
    send: (message) => (message.line.length ? out.write(journalMessage(message, base)) : undefined),
    close: () => out.close(),
  };
}

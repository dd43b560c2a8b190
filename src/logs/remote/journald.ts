/** The journald driver: a record of the journal for each line. */
import { existsSync } from 'node:fs';
import { internal } from '../../errors.ts';
import { shortId } from '../../lib/ids.ts';
import { fieldName, JOURNAL_SOCKET, journalField } from '../../lib/journal.ts';
import type { Options } from '../options.ts';
import type { LogInfo } from '../port.ts';
import { attributesOf, tagOf } from '../tag.ts';
import { openUnixDatagram } from './unix-datagram.ts';
import type { Message, MessageSink } from './writer.ts';

const PRIORITY = { stdout: '6', stderr: '3' } as const;

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

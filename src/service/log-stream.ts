/** Where the daemon's own log goes: stderr, as JSON or as lines for people; the journal, with its fields, where systemd connected stderr to it. */
import { fstatSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';
import { sendDatagram } from '../host/ffi.ts';
import { fieldName, JOURNAL_SOCKET, journalField } from '../lib/journal.ts';

const LEVELS: Record<number, string> = { 10: 'TRACE', 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' };
/** syslog(3)'s, as the journal has them. */
const PRIORITIES: Record<number, string> = { 10: '7', 20: '7', 30: '6', 40: '4', 50: '3', 60: '2' };
const TIME_LENGTH = '2000-01-01T00:00:00.000Z '.length;

/** Whether stderr is the very stream that systemd connected to the journal (JOURNAL_STREAM, systemd.exec(5)). */
function inJournal(env: NodeJS.ProcessEnv): boolean {
  try {
    const { dev, ino } = fstatSync(2);
    return env.JOURNAL_STREAM === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** One record of pino's as a line. `err` is shown with its cause, other fields as key=value. */
export function textLine(json: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(json) as Record<string, unknown> & { level: number };
  const pairs = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const error = err as { message?: string; stack?: string } | undefined;
  const words = [new Date(time as number).toISOString(), LEVELS[level] ?? level, msg, ...pairs];
  if (error) words.push(`error=${JSON.stringify(level >= 50 ? (error.stack ?? error.message) : error.message)}`);
  return `${words.filter((word) => word !== undefined && word !== '').join(' ')}\n`;
}

function write(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Nobody reads our stderr any more; the daemon goes on.
  }
}

/** A record for the journal: the line without its time, and each field of it as REACTORD_<NAME>, to be asked for (`journalctl REACTORD_CONTAINER=…`). */
export function journalRecord(json: string): Buffer {
  const {
    level,
    time: _,
    msg: _message,
    err,
    ...fields
  } = JSON.parse(json) as Record<string, unknown> & { level: number };
  const all: Record<string, unknown> = {
    MESSAGE: textLine(json).slice(TIME_LENGTH).trimEnd(),
    PRIORITY: PRIORITIES[level] ?? '6',
    SYSLOG_IDENTIFIER: 'reactord',
    ...Object.fromEntries(Object.entries(fields).map(([key, value]) => [`REACTORD_${fieldName(key)}`, value])),
    ...(err ? { REACTORD_ERROR: (err as { stack?: string; message?: string }).stack } : {}),
  };
  return Buffer.concat(
    Object.entries(all)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) =>
        journalField(name, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))),
      ),
  );
}

export function logStream(format: 'text' | 'json', env: NodeJS.ProcessEnv = process.env): DestinationStream {
  if (format === 'json') return { write };
  if (!inJournal(env)) return { write: (json) => write(textLine(json)) };
  return {
    write(json) {
      try {
        sendDatagram(JOURNAL_SOCKET, journalRecord(json));
      } catch {
        // Too large for a datagram, or the journal is being restarted: its stream takes lines, with sd-daemon(3)'s prefix.
        const { level } = JSON.parse(json) as { level: number };
        write(`<${PRIORITIES[level] ?? '6'}>${textLine(json).slice(TIME_LENGTH)}`);
      }
    },
  };
}

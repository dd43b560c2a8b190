/** Where the daemon's own log goes: stderr, as JSON or as lines for people. */
import { fstatSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

const LEVELS: Record<number, string> = { 10: 'TRACE', 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' };
/** sd-daemon(3) prefixes, which journald turns into priorities. */
const PRIORITIES: Record<number, string> = { 10: '<7>', 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>', 60: '<2>' };

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

export function logStream(format: 'text' | 'json', env: NodeJS.ProcessEnv = process.env): DestinationStream {
  if (format === 'json') return { write };
  const journal = inJournal(env);
  return {
    write(json) {
      const line = textLine(json);
      write(journal ? `${PRIORITIES[(JSON.parse(json) as { level: number }).level] ?? ''}${line.slice(25)}` : line);
    },
  };
}

/** Commands as everybody may read them: what is assigned, and what looks like a secret, is left out. Environments are never shown at all. */

const LONGEST = 80;
const LEFT_OUT = '…';
const VALUE = `(?:"[^"]*"|'[^']*'|[^\\s'"]+)`;
const SECRET = '(?:pass(?:word|wd|phrase)?|pwd|secret|token|api-?key|access-?key|auth|credentials?|private-?key)';

/** NAME=value, as for env or a shell. */
const ASSIGNED = new RegExp(`((?:^|[\\s;&|('"])[A-Za-z_]\\w*=)${VALUE}`, 'g');
/** --password value, --db-password=value. */
const OPTION = new RegExp(`(--?(?:[\\w-]*-)?${SECRET}(?:\\s+|=))${VALUE}`, 'gi');
/** scheme://user:password@host */
const IN_URL = /(\w+:\/\/)[^\s/@'"]+@/g;
const HEADER = /((?:authorization|x-[\w-]*(?:token|key))\s*:\s*)[^'"\n]+/gi;
/** mysql -psecret */
const MYSQL = /((?:^|[\s/])(?:mysql|mariadb)\w*\b[^;&|]*?\s-p)[^\s'"]+/g;

export const redacted = (text: string): string =>
  text
    .replace(OPTION, `$1${LEFT_OUT}`)
    .replace(ASSIGNED, `$1${LEFT_OUT}`)
    .replace(IN_URL, `$1${LEFT_OUT}@`)
    .replace(HEADER, `$1${LEFT_OUT}`)
    .replace(MYSQL, `$1${LEFT_OUT}`);

/** A command in a line. */
export function shownCommand(command: readonly string[]): string {
  const text = redacted(command.join(' ')).replace(/\s+/g, ' ').trim();
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

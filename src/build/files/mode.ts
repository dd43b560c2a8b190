/** --chmod: octal, or symbolic as chmod(1) has it (`u=rwX,go=rX`). Pure. */
import { invalid } from '../../errors.ts';

export type ModeChange = { octal: number } | { symbolic: string };

const CLAUSE = /^([ugoa]*)((?:[+\-=][rwxXst]*)+)$/;

export function parseMode(text: string): ModeChange {
  if (/^[0-7]{1,4}$/.test(text)) return { octal: parseInt(text, 8) };
  if (text.split(',').every((clause) => CLAUSE.test(clause))) return { symbolic: text };
  throw invalid(`invalid chmod parameter: '${text}'. it should be octal string and between 0 and 07777`);
}

const BITS: Record<string, number> = { r: 4, w: 2, x: 1 };
const SHIFT: Record<string, number> = { u: 6, g: 3, o: 0 };

function bitsOf(who: string, permissions: string, mode: number, directory: boolean): number {
  let bits = 0;
  for (const permission of permissions) {
    if (permission === 't') bits |= 0o1000;
    else if (permission === 's') bits |= (who.includes('u') ? 0o4000 : 0) | (who.includes('g') ? 0o2000 : 0);
    else {
      const conditional = permission === 'X';
      if (conditional && !directory && !(mode & 0o111)) continue;
      for (const one of who) bits |= BITS[conditional ? 'x' : permission]! << SHIFT[one]!;
    }
  }
  return bits;
}

export function applyMode(change: ModeChange, mode: number, directory: boolean): number {
  if ('octal' in change) return change.octal;
  let result = mode & 0o7777;
  for (const clause of change.symbolic.split(',')) {
    const [, given, operations] = CLAUSE.exec(clause)!;
    const who = !given || given.includes('a') ? 'ugo' : given;
    for (const [, operator, permissions] of operations!.matchAll(/([+\-=])([rwxXst]*)/g)) {
      // X looks at the mode as it was, as chmod(1p) has it.
      const bits = bitsOf(who, permissions!, mode, directory);
      if (operator === '+') result |= bits;
      else if (operator === '-') result &= ~bits;
      else {
        for (const one of who) result &= ~(7 << SHIFT[one]!);
        result |= bits;
      }
    }
  }
  return result;
}

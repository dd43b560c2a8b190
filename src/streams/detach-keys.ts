/** The key sequence by which a client leaves a terminal without ending what runs there. Pure. */
import { invalid } from '../errors.ts';

export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

const NAMED: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };

function keyCode(key: string): number | undefined {
  if (key === 'DEL') return 127;
  if ([...key].length === 1) return key.codePointAt(0)! < 256 ? key.codePointAt(0) : undefined;
  const control = /^ctrl-(.)$/i.exec(key)?.[1];
  if (control === undefined) return undefined;
  return /[a-z]/i.test(control) ? control.toLowerCase().charCodeAt(0) - 96 : NAMED[control];
}

/** "ctrl-p,ctrl-q", "a,ctrl-@", … as bytes; empty is the default. Throws invalid in dockerd's words. */
export function parseDetachKeys(text: string | undefined): Uint8Array {
  const keys = (text || DEFAULT_DETACH_KEYS).split(',');
  return Uint8Array.from(keys, (key) => {
    const code = keyCode(key);
    if (code === undefined) throw invalid(`Invalid detach keys (${text}) provided: Unknown character: '${key}'`);
    return code;
  });
}

export interface Scanned {
  /** What goes on to the process. */
  pass: Uint8Array;
  detached: boolean;
}

/** Watches input for the sequence, over chunk borders; a beginning that goes on otherwise is passed on late, but whole. */
export function detachScanner(keys: Uint8Array): (chunk: Uint8Array) => Scanned {
  let matched = 0;
  return (chunk) => {
    if (!matched && !chunk.includes(keys[0]!)) return { pass: chunk, detached: false };
    const pass: number[] = [];
    for (const byte of chunk) {
      if (byte === keys[matched]) {
        if (++matched === keys.length) return { pass: Uint8Array.from(pass), detached: true };
        continue;
      }
      pass.push(...keys.subarray(0, matched));
      matched = byte === keys[0] ? 1 : 0;
      if (!matched) pass.push(byte);
      else if (keys.length === 1) return { pass: Uint8Array.from(pass), detached: true };
    }
    return { pass: Uint8Array.from(pass), detached: false };
  };
}

import { randomBytes } from 'node:crypto';

/** A new 64-digit hexadecimal id. Never all digits in its first 12, so that a short id is never taken for a number. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    if (!/^\d{12}/.test(id)) return id;
  }
}

/** The first 12 digits, with or without an algorithm prefix (`sha256:`). */
export const shortId = (id: string): string => id.replace(/^[a-z0-9]+:/, '').slice(0, 12);

export const isFullId = (id: string): boolean => /^[0-9a-f]{64}$/.test(id);

/** Where layers are unpacked before they get their names: beside these, on the same file system. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { spreadDirectories } from '../../host/spread.ts';

/** Its name under overlay2/. */
export const NURSERY = 'new';

/** Idempotent. */
export function makeNursery(overlay: string): void {
  const path = join(overlay, NURSERY);
  if (mkdirSync(path, { recursive: true, mode: 0o700 })) spreadDirectories(path);
}

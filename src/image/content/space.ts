/** The last of a disk is not for images: a bomb fails while the daemon can still write its own records. */
import { statfsSync } from 'node:fs';
import { internal } from '../../errors.ts';

const RESERVE_BYTES = 64 << 20;
const RESERVE_INODES = 1000;
const CHECK_EVERY = 16 << 20;

export const diskFull = (): Error => internal('no space left on device', { code: 'disk-full' });

/** Count what is written with it; throws `internal` (code disk-full) when only the reserve is left. */
export function spaceGuard(directory: string): (bytes: number) => void {
  let written = 0;
  return (bytes) => {
    written += bytes;
    if (written < CHECK_EVERY) return;
    written = 0;
    const { bavail, blocks, bsize, files, ffree } = statfsSync(directory);
    const reserve = Math.min(RESERVE_BYTES, (blocks * bsize) / 50);
    // File systems without a fixed number of inodes tell 0.
    const inodes = files > 0 && ffree < Math.min(RESERVE_INODES, files / 50);
    if (inodes || bavail * bsize < reserve) throw diskFull();
  };
}

export const isDiskFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? '');

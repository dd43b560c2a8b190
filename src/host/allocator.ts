/** How glibc's malloc, which Node takes its buffers from, gives memory back (mallopt(3)). */
import { libc } from './ffi.ts';

const M_MMAP_THRESHOLD = -3;
/** Larger blocks come from the kernel and go back to it one by one. */
const LARGE = 256 << 10;

const mallopt = libc('int mallopt(int option, int value)');

/**
 * Left to itself, the limit rises to the largest block that was ever freed: then buffers of bytes that come through lie in
 * the arenas of all threads, which keep what they have had at most.
 */
export function returnLargeBlocks(): void {
  mallopt(M_MMAP_THRESHOLD, LARGE);
}

/**
 * Memory that files are read into, lent for the time of one read. Thousands of readers may follow one log and wake at each line: what
 * they use together is this, and they take turns for it.
 */
export const BLOCK = 96 << 10;
/** As many reads as Node's thread pool does at once, and as many that wait for it. */
const MOST = 8;

const idle: Buffer[] = [];
const waiting: ((block: Buffer) => void)[] = [];
let made = 0;

function borrow(): Buffer | Promise<Buffer> {
  const block = idle.pop();
  if (block) return block;
  if (made === MOST) return new Promise((resolve) => waiting.push(resolve));
  made++;
  return Buffer.allocUnsafeSlow(BLOCK);
}

function giveBack(block: Buffer): void {
  const next = waiting.shift();
  if (next) next(block);
  else idle.push(block);
}

/** `work` keeps nothing of the block. One of another size is made for the occasion. */
export async function withBlock<T>(size: number, work: (block: Buffer) => Promise<T>): Promise<T> {
  if (size !== BLOCK) return work(Buffer.allocUnsafe(size));
  const block = await borrow();
  try {
    return await work(block);
  } finally {
    giveBack(block);
  }
}

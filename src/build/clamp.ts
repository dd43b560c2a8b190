/**
 * SOURCE_DATE_EPOCH: no time in a layer later than it. Works on the stream of an uncompressed tar: header blocks get
 * another mtime and checksum, and mtime records of pax headers another value of the same length. Nothing else moves.
 */
const BLOCK = 512;

const sizeOf = (block: Buffer): number => {
  if (block[124]! & 0x80) return Number(block.readBigUInt64BE(128));
  return parseInt(block.toString('latin1', 124, 136).replace(/\0.*$/, '').trim() || '0', 8);
};

function clampHeader(block: Buffer, epoch: number): void {
  if (block.every((byte) => byte === 0)) return;
  const mtime =
    block[136]! & 0x80 ? Infinity : parseInt(block.toString('latin1', 136, 148).replace(/\0.*$/, '').trim() || '0', 8);
  if (mtime <= epoch) return;
  block.write(`${epoch.toString(8).padStart(11, '0')}\0`, 136, 'latin1');
  block.write('        ', 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/** Pax records are "<length> key=value\n"; a value of the same length keeps every length right. */
function clampPax(body: Buffer, epoch: number): Buffer {
  const text = body
    .toString('latin1')
    .replace(/(\d+ (?:m|a|c)time=)(\d+)(\.\d+)?(?=\n)/g, (all, head: string, seconds: string, rest = '') =>
      Number(seconds) < epoch
        ? all
        : head + String(epoch).padStart(seconds.length, '0').slice(-seconds.length) + rest.replace(/\d/g, '0'),
    );
  return Buffer.from(text, 'latin1');
}

export async function* clampTimes(tar: AsyncIterable<Uint8Array>, epoch: number): AsyncIterable<Uint8Array> {
  let held = Buffer.alloc(0);
  /** Bytes of a file's body still to pass through. */
  let through = 0;
  for await (const chunk of tar) {
    held = held.length ? Buffer.concat([held, chunk]) : Buffer.from(chunk);
    const out: Buffer[] = [];
    let at = 0;
    for (;;) {
      if (through) {
        const take = Math.min(through, held.length - at);
        out.push(held.subarray(at, at + take));
        at += take;
        through -= take;
        if (through) break;
      }
      if (held.length - at < BLOCK) break;
      const block = Buffer.from(held.subarray(at, at + BLOCK));
      const size = Math.ceil(sizeOf(block) / BLOCK) * BLOCK;
      const isPax = block[156] === 0x78 || block[156] === 0x67;
      if (isPax && held.length - at < BLOCK + size) break;
      clampHeader(block, epoch);
      out.push(block);
      at += BLOCK;
      if (isPax) {
        out.push(clampPax(held.subarray(at, at + size), epoch));
        at += size;
      } else through = size;
    }
    held = held.subarray(at);
    if (out.length) yield Buffer.concat(out);
  }
  if (held.length) yield held;
}

import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeFifo, openReader } from '../../src/runtime/shim/fifo.ts';
import { eventually } from '../support/eventually.ts';

let directory: string;
beforeAll(() => (directory = mkdtempSync(join(tmpdir(), 'output-'))));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let pipes = 0;
function pipe() {
  const path = join(directory, `pipe${pipes++}`);
  makeFifo(path);
  const output = openReader(path);
  // The shim has both ends, too: what is in the pipe outlives its readers.
  const shim = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const left = (): string => {
    const bytes = Buffer.alloc(2 << 20);
    let size = 0;
    try {
      for (;;) size += readSync(shim, bytes, size, bytes.length - size, null);
    } catch {
      return bytes.toString('latin1', 0, size);
    }
  };
  return { output, shim, left };
}

/** 700 KB of which every part is another. */
const text = Array.from({ length: 100_000 }, (_, i) => String(i).padStart(6, '0')).join('\n');

describe('the output of a process', () => {
  it('stays in the pipe until somebody wants it', async () => {
    const { output, shim, left } = pipe();
    writeSync(shim, text);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    output.destroy();
    expect(left()).toBe(text);
    closeSync(shim);
  });

  it('stays there from the moment that its reader pauses: what was handed on and what is left is all there was', async () => {
    const { output, shim, left } = pipe();
    writeSync(shim, text);
    let taken = '';
    output.on('data', (chunk: Buffer) => {
      taken += chunk.toString('latin1');
      output.pause();
    });
    await eventually(() => taken !== '');
    const first = taken.length;
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    expect(taken.length).toBe(first);
    output.resume();
    await eventually(() => taken.length > first);
    output.destroy();
    expect(taken + left()).toBe(text);
    closeSync(shim);
  });

  it('comes whole, and ends when the last writer has gone', async () => {
    const { output, shim } = pipe();
    writeSync(shim, text);
    closeSync(shim);
    const chunks: Buffer[] = [];
    for await (const chunk of output) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString('latin1')).toBe(text);
  });
});

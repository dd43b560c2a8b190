/**
 * The reading end of a pipe as a Readable that holds nothing back: it reads only while somebody wants to have it, hands on what it
 * read in the same turn, and stops in that turn when told to pause. What is not yet read stays in the pipe, which outlives a daemon
 * that is killed; net.Socket alone would have read up to 128 KiB ahead.
 *
 * Much output comes in small pieces, each of which costs a turn of the loop, a frame and a write. So between pieces that follow each
 * other closely the pipe, which is wide, collects for a moment; a piece that comes alone is handed on at once.
 */
import { Socket } from 'node:net';
import { Readable } from 'node:stream';

/** One for all pipes: it is emptied before the next read. */
const shared = Buffer.allocUnsafeSlow(256 << 10);

/** Pieces of at least half a read need no collecting. */
const SMALL = shared.length / 2;
/** Milliseconds within which a piece follows the last one closely. */
const CLOSELY_MS = 3;
const COLLECT_MS = 1;

export class PipeOutput extends Readable {
  #socket: Socket;
  #last = -Infinity;
  #collects = false;

  /** `fd` is open for reading and does not block. */
  constructor(fd: number) {
    // A stream with room of its own would go on reading while it is paused.
    super({ highWaterMark: 0 });
    const take = (size: number, bytes: Uint8Array): boolean => {
      const more = this.push(Buffer.from(bytes.subarray(0, size)));
      const now = performance.now();
      this.#collects = size < SMALL && now - this.#last < CLOSELY_MS;
      this.#last = now;
      return more && this.readableFlowing !== false && !this.#collects;
    };
    // Known to Node, but not to its types: nothing is read before `resume`.
    const options = {
      fd,
      readable: true,
      writable: false,
      manualStart: true,
      onread: { buffer: shared, callback: take },
    };
    this.#socket = new Socket(options);
    this.#socket.on('error', (error) => this.destroy(error)).on('end', () => this.push(null));
  }

  override _read(): void {
    if (this.#collects) setTimeout(() => this.#socket.resume(), COLLECT_MS);
    else this.#socket.resume();
    this.#collects = false;
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}

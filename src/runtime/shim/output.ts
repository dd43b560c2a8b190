/**
 * The reading end of a pipe as a Readable that holds nothing back: it reads only while somebody wants to have it, hands on what it
 * read in the same turn, and stops in that turn when told to pause. What is not yet read stays in the pipe, which outlives a daemon
 * that is killed; net.Socket alone would have read up to 128 KiB ahead.
 */
import { Socket } from 'node:net';
import { Readable } from 'node:stream';

/** One for all pipes: it is emptied before the next read. */
const shared = Buffer.allocUnsafeSlow(256 << 10);

export class PipeOutput extends Readable {
  #socket: Socket;

  /** `fd` is open for reading and does not block. */
  constructor(fd: number) {
    // A stream with room of its own would go on reading while it is paused.
    super({ highWaterMark: 0 });
    const take = (size: number, bytes: Uint8Array): boolean => {
      const more = this.push(Buffer.from(bytes.subarray(0, size)));
      return more && this.readableFlowing !== false;
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
    this.#socket.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}

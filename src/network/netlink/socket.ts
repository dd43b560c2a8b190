/** A netlink socket of the namespace that the thread is in when it opens one. The kernel answers while it is asked: nothing here waits. */
import { closeSync } from 'node:fs';
import { SyscallError } from '../../host/ffi.ts';
import { netlinkReceive, netlinkSend, netlinkSocket } from '../../host/network-ffi.ts';
import { message, readAcknowledgement } from './message.ts';

const LARGEST_ANSWER = 8192;

export class NetlinkSocket {
  #fd = netlinkSocket();
  #sequence = 0;
  #answer = Buffer.alloc(LARGEST_ANSWER);

  /** Fails with a SyscallError, whose message has the kernel's own words where it gave some. */
  request(what: string, type: number, flags: number, ...parts: readonly Uint8Array[]): void {
    const sequence = ++this.#sequence;
    netlinkSend(this.#fd, message(type, flags, sequence, ...parts));
    for (;;) {
      const size = netlinkReceive(this.#fd, this.#answer);
      const answer = readAcknowledgement(this.#answer.subarray(0, size));
      if (answer?.sequence !== sequence) continue;
      if (answer.errno) throw new SyscallError(answer.words ? `${what} (${answer.words})` : what, answer.errno);
      return;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

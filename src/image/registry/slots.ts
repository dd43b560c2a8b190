/** A counted permission to do something costly, handed out in order of asking. */
import { cancelled } from '../../errors.ts';

export class Slots {
  /** Asked each time: a reload of the configuration may change it. */
  #most: () => number;
  #taken = 0;
  #waiting: (() => void)[] = [];

  constructor(most: () => number) {
    this.#most = most;
  }

  /** Waits for a turn, which is told; the returned function gives it back, and calling it twice is harmless. */
  async take(signal: AbortSignal, onWait?: () => void): Promise<() => void> {
    if (signal.aborted) throw cancelled('cancelled while waiting for a turn');
    if (this.#taken < this.#most()) this.#taken++;
    else {
      onWait?.();
      await this.#wait(signal);
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#taken--;
      this.#admit();
    };
  }

  #admit(): void {
    while (this.#waiting.length && this.#taken < this.#most()) {
      this.#taken++;
      this.#waiting.shift()!();
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(cancelled('cancelled while waiting for a turn'));
      };
      this.#waiting.push(go);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}

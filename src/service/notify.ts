/** sd_notify(3): tells systemd what the service is about. */
import { sendDatagram } from '../host/ffi.ts';

export type Notify = (...lines: string[]) => void;

/** Does nothing when not started by systemd. */
export function notifier(socket = process.env.NOTIFY_SOCKET): Notify {
  if (!socket) return () => {};
  return (...lines) => {
    try {
      sendDatagram(socket, Buffer.from(lines.join('\n')));
    } catch {
      // The service manager went away: nobody is left to tell.
    }
  };
}

const EXTENSION_MS = 20_000;

/** Asks systemd for the time that containers have to stop, and some for the rest; again and again where they have no limit (a negative one). */
export function notifyStop(notify: Notify, shutdownSeconds: number): void {
  const extend = (ms: number): void => notify('STOPPING=1', `EXTEND_TIMEOUT_USEC=${ms * 1000}`);
  if (shutdownSeconds >= 0) return extend(shutdownSeconds * 1000 + EXTENSION_MS);
  extend(EXTENSION_MS);
  setInterval(extend, EXTENSION_MS / 2, EXTENSION_MS).unref();
}

/** Milliseconds between two signs of life that systemd wants (half its limit); undefined when it wants none. */
export function watchdogInterval(env: NodeJS.ProcessEnv = process.env): number | undefined {
  const limit = Number(env.WATCHDOG_USEC);
  const ours = !env.WATCHDOG_PID || Number(env.WATCHDOG_PID) === process.pid;
  return ours && limit > 0 ? Math.floor(limit / 2000) : undefined;
}

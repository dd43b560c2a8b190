/** sd_notify(3): tells systemd what the service is about. Does nothing when not started by it. */
import { sendDatagram } from '../host/ffi.ts';

export function notifier(socket = process.env.NOTIFY_SOCKET): (...lines: string[]) => void {
  if (!socket) return () => {};
  return (...lines) => {
    try {
      sendDatagram(socket, Buffer.from(lines.join('\n')));
    } catch {
      // The service manager went away: nobody is left to tell.
    }
  };
}

/** Milliseconds between two signs of life that systemd wants (half its limit); undefined when it wants none. */
export function watchdogInterval(env: NodeJS.ProcessEnv = process.env): number | undefined {
  const limit = Number(env.WATCHDOG_USEC);
  const ours = !env.WATCHDOG_PID || Number(env.WATCHDOG_PID) === process.pid;
  return ours && limit > 0 ? Math.floor(limit / 2000) : undefined;
}

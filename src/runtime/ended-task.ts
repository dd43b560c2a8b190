/** A task of which only its exit is left: its shim is gone, and nothing can be asked of it any more. */
import { Readable } from 'node:stream';
import { notFound } from '../errors.ts';
import type { ExitStatus, Task } from './port.ts';

const ended = (): Readable => {
  const stream = new Readable({ read() {} });
  stream.push(null);
  return stream;
};

export function endedTask(options: {
  id: string;
  terminal: boolean;
  exit: ExitStatus;
  forget: () => Promise<void>;
}): Task {
  const refuse = (): Promise<never> => Promise.reject(notFound(`container ${options.id} has ended`));
  return {
    id: options.id,
    pid: 0,
    io: { stdin: undefined, stdout: ended(), stderr: options.terminal ? undefined : ended() },
    exited: Promise.resolve(options.exit),
    start: refuse,
    kill: refuse,
    killAll: refuse,
    resize: refuse,
    exec: refuse,
    pause: refuse,
    resume: refuse,
    update: refuse,
    pids: refuse,
    closeStdin: async () => {},
    onOom: () => () => {},
    delete: options.forget,
  };
}

/** An exec's chart: created · starting · running · exited. It starts once; what it may leave in the runtime is deleted at its end. */
import { assign, fromPromise, setup } from 'xstate';
import { asDaemonError, type DaemonError, internal } from '../errors.ts';
import { startExitCode } from '../container/changes.ts';
import type { Reply } from '../reactor/ask.ts';
import type { ExitStatus } from '../runtime/port.ts';

export interface ExecConfig {
  tty: boolean;
  attachStdin: boolean;
  attachStdout: boolean;
  attachStderr: boolean;
  detachKeys: string;
  env: string[];
  command: string[];
  privileged: boolean;
  user: string;
  workingDir: string;
  /** Height and width. */
  consoleSize?: [number, number];
}

export interface ExecRecord {
  readonly id: string;
  readonly containerId: string;
  readonly config: ExecConfig;
  running: boolean;
  exitCode: number | null;
  pid: number;
}

export type ExecEvent =
  { type: 'START'; reply: Reply; consoleSize?: [number, number] } | { type: 'EXIT'; exit: ExitStatus };

export interface ExecContext {
  record: ExecRecord;
  starter: Reply | undefined;
  /** The end, when it came before the answer to the start. */
  exit: ExitStatus | undefined;
}

export interface ExecWork {
  record: ExecRecord;
  consoleSize?: [number, number];
  send: (event: ExecEvent) => void;
}

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

const failureOf = (event: unknown): DaemonError => asDaemonError((event as { error: unknown }).error);

export const execMachine = setup({
  types: { context: {} as ExecContext, events: {} as ExecEvent, input: {} as { record: ExecRecord } },
  actors: { start: fromPromise<{ pid: number }, ExecWork>(unwired), settle: fromPromise<void, ExecWork>(unwired) },
  guards: { hasEnded: ({ context }) => context.exit !== undefined },
  actions: {
    persist: (_: { context: ExecContext }) => {},
    announce: (_: { context: ExecContext }, _action: 'exec_start' | 'exec_die') => {},
    /** The end is all that may be told from here on; wired to forget it after a while. */
    over: (_: { context: ExecContext }) => {},
    keepStarter: assign({ starter: ({ event }) => (event.type === 'START' ? event.reply : undefined) }),
    keepExit: assign({ exit: ({ context, event }) => (event.type === 'EXIT' ? event.exit : context.exit) }),
    recordStart: assign({
      record: ({ context, event }) => ({
        ...context.record,
        running: true,
        pid: (event as unknown as { output: { pid: number } }).output.pid,
      }),
    }),
    recordExit: assign({
      record: ({ context }) => ({ ...context.record, running: false, exitCode: context.exit?.exitCode ?? 255 }),
    }),
    recordFailure: assign({
      record: ({ context, event }) => ({
        ...context.record,
        running: false,
        exitCode: startExitCode(failureOf(event).message),
      }),
    }),
    starterDone: ({ context }) => context.starter?.resolve(),
    starterFailed: ({ context, event }) => context.starter?.reject(failureOf(event)),
  },
}).createMachine({
  id: 'exec',
  context: ({ input }) => ({ record: input.record, starter: undefined, exit: undefined }),
  initial: 'created',
  states: {
    created: { on: { START: { target: 'starting', actions: 'keepStarter' } } },
    starting: {
      on: { EXIT: { actions: 'keepExit' } },
      invoke: {
        id: 'start',
        src: 'start',
        input: ({ context, event, self }) => ({
          record: context.record,
          consoleSize: event.type === 'START' ? event.consoleSize : undefined,
          send: (news) => self.send(news),
        }),
        onDone: {
          target: 'running',
          actions: ['recordStart', 'persist', { type: 'announce', params: 'exec_start' }, 'starterDone'],
        },
        onError: { target: 'settling', actions: ['recordFailure', 'persist', 'starterFailed'] },
      },
    },
    running: {
      always: {
        guard: 'hasEnded',
        target: 'settling',
        actions: ['recordExit', 'persist', { type: 'announce', params: 'exec_die' }],
      },
      on: { EXIT: { actions: 'keepExit' } },
    },
    settling: {
      on: { EXIT: { actions: 'keepExit' } },
      invoke: {
        id: 'settle',
        src: 'settle',
        input: ({ context, self }) => ({ record: context.record, send: (news) => self.send(news) }),
        onDone: 'exited',
        onError: 'exited',
      },
    },
    exited: { entry: 'over', type: 'final' },
  },
});

/**
 * A build's statechart: receiving · parsing · solving (a child for each stage) · exporting · done | failed | cancelled.
 * A stage starts when all stages it needs are done; independent ones run at once. The effects come in as `work`.
 */
import { assign, enqueueActions, fromCallback, setup } from 'xstate';
import { asDaemonError, cancelled, type DaemonError } from '../errors.ts';
import { effect, OPEN_ENDED, within } from '../reactor/effect.ts';

export interface PlannedStage {
  index: number;
  /** Stages that must be done before. */
  needs: number[];
}

/** The effects of one build. Each honours its signal and may reject. */
export interface BuildWork<R> {
  receive(signal: AbortSignal): Promise<void>;
  parse(): PlannedStage[];
  stage(index: number, signal: AbortSignal): Promise<void>;
  export(signal: AbortSignal): Promise<R>;
}

export type BuildCommand =
  { type: 'CANCEL' } | { type: 'STAGE_DONE'; index: number } | { type: 'STAGE_FAILED'; index: number; error: unknown };

interface BuildContext {
  work: BuildWork<unknown>;
  plan: PlannedStage[];
  started: number[];
  finished: number[];
  result: unknown;
  error: DaemonError | undefined;
}

const PARSE_MS = 10_000;

type WithWork = { work: BuildWork<unknown> };

const readyStages = ({ plan, started, finished }: BuildContext): number[] =>
  plan
    .filter(({ index, needs }) => !started.includes(index) && needs.every((need) => finished.includes(need)))
    .map(({ index }) => index);

export const buildMachine = setup({
  types: {
    context: {} as BuildContext,
    input: {} as WithWork,
    events: {} as BuildCommand,
    output: {} as { result: unknown; error: DaemonError | undefined },
  },
  actors: {
    /** As long as the client sends, its programs run and the image is written. */
    receive: effect<void, WithWork>(OPEN_ENDED, ({ input, signal }) => input.work.receive(signal)),
    parse: effect<PlannedStage[], WithWork>(PARSE_MS, async ({ input }) => input.work.parse()),
    stage: within(
      OPEN_ENDED,
      fromCallback<{ type: string }, WithWork & { index: number }>(({ input: { work, index }, sendBack }) => {
        const controller = new AbortController();
        let ended = false;
        work
          .stage(index, controller.signal)
          .finally(() => (ended = true))
          .then(
            () => sendBack({ type: 'STAGE_DONE', index }),
            (error: unknown) => sendBack({ type: 'STAGE_FAILED', index, error }),
          );
        return () => {
          if (!ended) controller.abort(cancelled('the build was cancelled'));
        };
      }),
    ),
    export: effect<unknown, WithWork>(OPEN_ENDED, ({ input, signal }) => input.work.export(signal)),
  },
  actions: {
    startReady: enqueueActions(({ context, enqueue }) => {
      const ready = readyStages(context);
      for (const index of ready)
        enqueue.spawnChild('stage', { id: `stage-${index}`, input: { work: context.work, index } });
      enqueue.assign({ started: [...context.started, ...ready] });
    }),
    fail: assign({ error: (_, params: { error: unknown }) => asDaemonError(params.error) }),
  },
  guards: {
    isLast: ({ context, event }) =>
      event.type === 'STAGE_DONE' &&
      context.plan.every(({ index }) => index === event.index || context.finished.includes(index)),
  },
}).createMachine({
  id: 'build',
  context: ({ input }) => ({
    work: input.work,
    plan: [],
    started: [],
    finished: [],
    result: undefined,
    error: undefined,
  }),
  initial: 'receiving',
  output: ({ context }) => ({ result: context.result, error: context.error }),
  on: { CANCEL: '.cancelled' },
  states: {
    receiving: {
      invoke: {
        src: 'receive',
        input: ({ context }) => ({ work: context.work }),
        onDone: 'parsing',
        onError: { target: 'failed', actions: { type: 'fail', params: ({ event }) => ({ error: event.error }) } },
      },
    },
    parsing: {
      invoke: {
        src: 'parse',
        input: ({ context }) => ({ work: context.work }),
        onDone: { target: 'solving', actions: assign({ plan: ({ event }) => event.output }) },
        onError: { target: 'failed', actions: { type: 'fail', params: ({ event }) => ({ error: event.error }) } },
      },
    },
    solving: {
      entry: 'startReady',
      on: {
        STAGE_DONE: [
          { guard: 'isLast', target: 'exporting' },
          { actions: [assign({ finished: ({ context, event }) => [...context.finished, event.index] }), 'startReady'] },
        ],
        STAGE_FAILED: { target: 'failed', actions: { type: 'fail', params: ({ event }) => ({ error: event.error }) } },
      },
    },
    exporting: {
      invoke: {
        src: 'export',
        input: ({ context }) => ({ work: context.work }),
        onDone: { target: 'done', actions: assign({ result: ({ event }) => event.output }) },
        onError: { target: 'failed', actions: { type: 'fail', params: ({ event }) => ({ error: event.error }) } },
      },
    },
    done: { type: 'final' },
    failed: { type: 'final' },
    cancelled: { type: 'final', entry: assign({ error: () => cancelled('the build was cancelled') }) },
  },
});

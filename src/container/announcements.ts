/** Actions of the chart that announce Docker events of the container, each with what the event says of the moment. */
import { secondsRun } from './changes.ts';
import type { Announcement, ContainerContext, ContainerEvent } from './events.ts';

interface Moment {
  context: ContainerContext;
}

export const announce = (params: Announcement) => ({ type: 'announce' as const, params });
/** An announcement that depends on the moment; undefined is none. */
export const announceBy = (params: (moment: Moment) => Announcement | undefined) => ({
  type: 'announce' as const,
  params,
});

export const announceKill = announce({ action: 'kill', attributes: { signal: '9' } });
export const announceStopSignal = announceBy(({ context }) => ({
  action: 'kill',
  attributes: { signal: String(context.stop?.signal ?? 15) },
}));
export const announceDeath = announceBy(({ context: { record } }) => ({
  action: 'die',
  attributes: { exitCode: String(record.state.exitCode), execDuration: String(secondsRun(record.state)) },
}));
export const announceStop = announceBy(({ context }) => (context.stop?.announced ? { action: 'stop' } : undefined));
export const announceRestart = announceBy(({ context }) =>
  context.announceRestart ? { action: 'restart' } : undefined,
);
/** Started just before the last daemon was killed: nobody was told yet. */
export const announceAdopted = announceBy(({ context }) =>
  context.record.phase === 'starting' ? { action: 'start' } : undefined,
);
export const adopted = ['recordAdopted' as const, announceAdopted, 'keepSandbox' as const];
export const announceRevision = {
  type: 'announce' as const,
  params: ({ event }: { event: ContainerEvent }) => (event.type === 'REVISE' ? event.announce : undefined),
};
export const announceHealth = announceBy(({ context: { record } }) => ({
  action: `health_status: ${record.state.health?.Status ?? 'none'}`,
}));

export const changeHealth = ['keepHealth' as const, 'persist' as const, announceHealth];

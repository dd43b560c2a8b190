/** Keeps the journal within its limits: by count and by age, looked at now and then. */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import type { Clock } from '../lib/clock.ts';
import type { Store } from './port.ts';

const EVERY_MS = 10 * 60_000;
const FIRST_MS = 1000;
const DAY_NANO = 86_400n * 1_000_000_000n;

/** Starts looking; returns the stop. */
export function keepJournal(deps: { store: Store; clock: Clock; config: Config; log: Logger }): () => void {
  const { store, clock, config, log } = deps;
  let cancel: () => void;
  const look = (): void => {
    try {
      const beforeNano = BigInt(clock.now()) * 1_000_000n - BigInt(config.journalDays) * DAY_NANO;
      const deleted = store.journal.prune({ keep: config.journalKeep, beforeNano });
      if (deleted) log.debug({ deleted }, 'old facts left the journal');
    } catch (error) {
      log.error({ err: error }, 'the journal could not be pruned');
    }
    cancel = clock.after(EVERY_MS, look);
  };
  // Soon after the start, too: a daemon that never lives for ten minutes keeps to its limits as well.
  cancel = clock.after(FIRST_MS, look);
  return () => cancel();
}

/** How long each call to a shim may take, in milliseconds, before the runtime it waits for is killed. */
export interface Deadlines {
  launch: number;
  create: number;
  start: number;
  exec: number;
  kill: number;
  delete: number;
  /** State, pids, pause, resume, update, resize, close of input. */
  control: number;
}

export const DEADLINES: Readonly<Deadlines> = {
  launch: 10_000,
  create: 60_000,
  start: 30_000,
  exec: 30_000,
  kill: 10_000,
  delete: 20_000,
  control: 10_000,
};

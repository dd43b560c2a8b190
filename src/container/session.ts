/** What is alive of a container beside its record: the task, its streams, the open log, and calls that are still under way. */
import type { LogWriter } from '../logs/port.ts';
import type { ProcessSpecification } from '../runtime/oci/spec-types.ts';
import type { Task } from '../runtime/port.ts';
import type { StreamBroker } from '../streams/broker.ts';

export interface Namespace {
  netnsPath: string;
  hostsPath: string;
  resolvConfPath: string;
}

export class Session {
  task: Task | undefined;
  log: LogWriter | undefined;
  /** Made at the first attach or start; clients stay attached from one start to the next. */
  streams: StreamBroker | undefined;
  /** What init was started with; execs inherit from it. */
  process: ProcessSpecification | undefined;
  /** Its processes are frozen. */
  frozen = false;
  namespace: Promise<Namespace> | undefined;
  /** Environment for the process alone: a build's secrets. */
  secretEnv: string[] | undefined;
  #underWay = new Set<Promise<unknown>>();

  /** Remembers a call until it ends: an undo must not run beside what it undoes. */
  track<T>(call: Promise<T>): Promise<T> {
    this.#underWay.add(call);
    const done = (): void => void this.#underWay.delete(call);
    call.then(done, done);
    return call;
  }

  /** Ends when nothing is under way; every call has a deadline of its own. */
  async quiet(): Promise<void> {
    while (this.#underWay.size) await Promise.allSettled(this.#underWay);
  }
}

export class Sessions {
  #sessions = new Map<string, Session>();

  of(id: string): Session {
    let session = this.#sessions.get(id);
    if (!session) this.#sessions.set(id, (session = new Session()));
    return session;
  }

  find(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  delete(id: string): void {
    this.#sessions.delete(id);
  }

  values(): Iterable<Session> {
    return this.#sessions.values();
  }
}

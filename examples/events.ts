/**
 * Follows the daemon's events as an RxJS observable. When the connection breaks it connects again and goes on after the last
 * event it saw, so that nothing is missed and nothing comes twice. Prints what containers do, and how many run.
 *
 *   bin/node examples/events.ts
 */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { filter, map, Observable, retry, scan, share, timer } from 'rxjs';

interface DockerEvent {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  time: number;
  /** Position in the daemon's journal. */
  seq: number;
}

const host = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
if (!host.startsWith('unix://')) throw new Error(`this example speaks to a unix socket, not to ${host}`);
const socketPath = host.slice('unix://'.length);

/** One connection's events: completes or fails with it, and closes it when nobody listens any more. */
const connection = (after: number): Observable<DockerEvent> =>
  new Observable((observer) => {
    const call = request({ socketPath, path: `/v1.51/events?after=${after}` }, (answer) => {
      if (answer.statusCode !== 200) return observer.error(new Error(`the daemon answered ${answer.statusCode}`));
      createInterface({ input: answer })
        .on('line', (line) => observer.next(JSON.parse(line) as DockerEvent))
        .on('error', (error) => observer.error(error))
        .on('close', () => observer.error(new Error('the daemon closed the stream')));
    });
    call.on('error', (error) => observer.error(error));
    call.end();
    return () => call.destroy();
  });

let last = 0;
const events$ = new Observable<DockerEvent>((observer) =>
  connection(last).subscribe({
    next(event) {
      last = event.seq;
      observer.next(event);
    },
    error: (error: unknown) => observer.error(error),
  }),
).pipe(
  retry({
    delay(error: Error) {
      console.error(`${error.message}; connecting again`);
      return timer(1000);
    },
  }),
  share(),
);

const containers$ = events$.pipe(filter((event) => event.Type === 'container'));

containers$
  .pipe(
    map(
      ({ time, Action, Actor }) =>
        `${new Date(time * 1000).toISOString()}  ${Action}  ${Actor.Attributes.name ?? Actor.ID}`,
    ),
  )
  .subscribe((line) => console.log(line));

containers$
  .pipe(
    scan((running, { Action, Actor }) => {
      if (Action === 'start') running.add(Actor.ID);
      if (Action === 'die') running.delete(Actor.ID);
      return running;
    }, new Set<string>()),
    map((running) => running.size),
  )
  .subscribe((count) => console.log(`    running: ${count}`));

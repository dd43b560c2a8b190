/** Containers that live in another one's namespaces (network_mode container:x) follow it: when it starts anew, so do they. */
import type { Logger } from 'pino';
import type { Subscription } from 'rxjs';
import type { Bus } from '../bus/bus.ts';
import { joinedContainer } from '../runtime/oci/docker-types.ts';
import { type ContainerRecord, hasProcesses } from './record.ts';
import type { Containers } from './service.ts';

/** Ids of the containers whose namespaces it lives in; by name it knows one that was made after it. */
export const parentsOf = ({ hostConfig }: ContainerRecord, idOf: (reference: string) => string | undefined): string[] =>
  [hostConfig.NetworkMode, hostConfig.PidMode, hostConfig.IpcMode].flatMap((mode) => {
    const other = joinedContainer(mode);
    return other === undefined ? [] : [idOf(other) ?? other];
  });

export function followSharers(deps: { bus: Bus; containers: Containers; log: Logger }): Subscription {
  const idOf = (reference: string): string | undefined => deps.containers.find(reference)?.id;
  const follow = (parent: string): void => {
    for (const record of deps.containers.all()) {
      if (!hasProcesses(record) || !parentsOf(record, idOf).includes(parent)) continue;
      deps.containers.restart(record.id).catch((error: unknown) => {
        deps.log.warn({ err: error, container: record.id, parent }, 'a container could not follow its parent');
      });
    }
  };
  return deps.bus.facts$.subscribe((fact) => {
    if (fact.topic === 'event' && fact.type === 'container' && fact.action === 'start') follow(fact.id);
  });
}

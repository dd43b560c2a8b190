/** What the other rooms ask of the containers: who uses an image, a volume, a network, and changes of their endpoints. */
import { conflict, forbidden } from '../errors.ts';
import type { ImageUsers } from '../image/port.ts';
import type { NetworkUsers, SandboxRequest } from '../network/port.ts';
import type { VolumeUsers } from '../volume/port.ts';
import { Lanes } from '../lib/lanes.ts';
import type { EffectDeps } from './deps.ts';
import { sandboxRequest } from './network-request.ts';
import { type ContainerRecord, hasProcesses, isRunning } from './record.ts';
import type { Registry } from './registry.ts';

export interface UsersDeps {
  effects: EffectDeps;
  registry: Registry;
  revise(record: ContainerRecord, change: Partial<ContainerRecord>): Promise<void>;
}

export const volumeUsers = (registry: Registry): VolumeUsers => ({
  using(volume) {
    const ids: string[] = [];
    // One that is being removed has let go of its mounts before it takes its anonymous volumes along.
    for (const { id, mounts, phase } of registry.values())
      if (phase !== 'removing' && mounts.some((mount) => mount.type === 'volume' && mount.name === volume))
        ids.push(id);
    return ids;
  },
});

const isOn = (record: ContainerRecord, network: { name: string }): boolean =>
  network.name in record.networking.EndpointsConfig || network.name in (record.sandbox?.endpoints ?? {});

export const imageUsers = (registry: Registry): ImageUsers => ({
  using(imageId) {
    const users: ReturnType<ImageUsers['using']> = [];
    for (const record of registry.values())
      if (record.image === imageId || record.mounts.some(({ image }) => image === imageId))
        users.push({ containerId: record.id, running: isRunning(record) });
    return users;
  },
});

export function networkUsers({ effects, registry, revise }: UsersDeps): NetworkUsers {
  const lanes = new Lanes();
  const without = (record: ContainerRecord, name: string): ContainerRecord['networking'] => {
    const { [name]: _, ...rest } = record.networking.EndpointsConfig;
    return { EndpointsConfig: rest };
  };
  return {
    using(network) {
      const users: ReturnType<NetworkUsers['using']> = [];
      for (const record of registry.values())
        if (isOn(record, network))
          users.push({ containerId: record.id, name: record.name, running: hasProcesses(record) });
      return users;
    },
    connect(container, reference, endpoint) {
      const { id } = registry.resolve(container);
      return lanes.run(id, async () => {
        const record = registry.resolve(id);
        const { name, driver } = effects.networks.resolve(reference);
        refuseShared(record, 'connect');
        if (driver === 'host')
          throw forbidden('cannot connect container to host network - container must be created in host network mode');
        const EndpointsConfig = { ...record.networking.EndpointsConfig, [name]: endpoint };
        const wanted: ContainerRecord = { ...record, networking: { EndpointsConfig } };
        if (!hasProcesses(record)) {
          if (name in record.networking.EndpointsConfig) throw alreadyOn(record, name);
          effects.networks.validate(requestOf(effects, wanted));
          return revise(record, { networking: { EndpointsConfig } });
        }
        if (record.sandbox?.endpoints[name]) throw alreadyOn(record, name);
        const sandbox = await effects.networks.connect(requestOf(effects, wanted), name, endpoint);
        await revise(record, { sandbox, networking: { EndpointsConfig } });
      });
    },
    disconnect(container, reference, force) {
      const { id } = registry.resolve(container);
      return lanes.run(id, async () => {
        const record = registry.resolve(id);
        const { name } = effects.networks.resolve(reference);
        refuseShared(record, 'disconnect');
        if (!(name in record.networking.EndpointsConfig) && !record.sandbox?.endpoints[name] && !force)
          throw conflict(`container ${record.id} is not connected to the network ${name}`);
        const networking = without(record, name);
        if (!hasProcesses(record)) return revise(record, { networking });
        const sandbox = await effects.networks.disconnect(id, name, force);
        await revise(record, { sandbox, networking });
      });
    },
  };
}

const alreadyOn = (record: ContainerRecord, name: string): Error =>
  conflict(`endpoint with name ${record.name} already exists in network ${name}`);

const requestOf = (effects: EffectDeps, record: ContainerRecord): SandboxRequest =>
  sandboxRequest(record, effects.idOf);

function refuseShared({ hostConfig }: ContainerRecord, verb: string): void {
  if (hostConfig.NetworkMode === 'host')
    throw conflict(`cannot ${verb} container to host network: container uses the host's network`);
  if (hostConfig.NetworkMode.startsWith('container:'))
    throw conflict(
      `container sharing network namespace with another container or host cannot be connected to any other network`,
    );
}

/** What `update` changes of a container: limits and the restart policy, checked by themselves and against what is set already. Pure. */
import type { Config } from '../config/config.ts';
import { conflict, type DaemonError } from '../errors.ts';
import type { ContainerUpdate } from '../generated/types/container-update.ts';
import type { HostFacts } from '../host/port.ts';
import { validateHostConfig } from '../runtime/oci/validate.ts';
import type { HostConfig } from './config.ts';
import type { ContainerRecord } from './record.ts';

export interface Update {
  /** What the client chose. */
  change: Partial<HostConfig>;
  /** All of it after the change. */
  hostConfig: HostConfig;
  warnings: string[];
}

/** The CLI sends every field; zero and empty ones are those that nobody chose. A pids limit of 0 is one: none. */
function chosenOf(body: ContainerUpdate): Partial<HostConfig> {
  const chosen = Object.entries(body).filter(([key, value]) => {
    if (key === 'RestartPolicy') return Boolean((value as ContainerUpdate['RestartPolicy'])?.Name);
    if (key === 'PidsLimit') return value !== null;
    return Array.isArray(value) ? value.length > 0 : Boolean(value);
  });
  return Object.fromEntries(chosen) as Partial<HostConfig>;
}

/** NanoCpus are a period and a quota in other words: whoever set one cannot set the other. */
const CONFLICTS: readonly [keyof HostConfig, keyof HostConfig, string][] = [
  ['NanoCpus', 'CpuPeriod', 'Nano CPUs cannot be updated as CPU Period has already been set'],
  ['NanoCpus', 'CpuQuota', 'Nano CPUs cannot be updated as CPU Quota has already been set'],
  ['CpuQuota', 'NanoCpus', 'CPU Quota cannot be updated as NanoCPUs has already been set'],
  ['CpuPeriod', 'NanoCpus', 'CPU Period cannot be updated as NanoCPUs has already been set'],
];

function conflictOf({ hostConfig, phase }: ContainerRecord, change: Partial<HostConfig>): string | undefined {
  if (phase === 'removing' || phase === 'dead') return 'Container is marked for removal and cannot be "update".';
  if (hostConfig.AutoRemove && change.RestartPolicy && change.RestartPolicy.Name !== 'no')
    return 'Restart policy cannot be updated because AutoRemove is enabled for the container';
  const found = CONFLICTS.find(([wanted, set]) => change[wanted] && hostConfig[set]);
  if (found) return found[2];
  const { Memory = 0, MemorySwap } = change;
  return Memory > hostConfig.MemorySwap && hostConfig.MemorySwap !== -1 && !MemorySwap
    ? 'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time'
    : undefined;
}

const refused = ({ id }: ContainerRecord, why: string): DaemonError =>
  conflict(`Cannot update container ${id}: ${why}`);

export function updateOf(record: ContainerRecord, body: ContainerUpdate, host: HostFacts, daemon: Config): Update {
  const change = chosenOf(body);
  const check = (hostConfig: HostConfig): { hostConfig: HostConfig; warnings: string[] } =>
    validateHostConfig(hostConfig, host, daemon, { update: true });
  check(change as HostConfig);
  const why = conflictOf(record, change);
  if (why) throw refused(record, why);
  return { change, ...check({ ...record.hostConfig, ...change }) };
}

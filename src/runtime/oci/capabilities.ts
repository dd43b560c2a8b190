/** Which capabilities a container gets. Names come with or without CAP_, in any case; ALL stands for every one. */
import { CAPABILITIES } from '../../host/capabilities.ts';
import { invalid } from '../../errors.ts';
import type { HostSettings } from './docker-types.ts';
import type { CapabilitySets } from './spec-types.ts';

export const DEFAULT_CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

const ALL = 'ALL';

/** Checks and normalizes a list of names against what this machine can give. */
export function normalizeCapabilities(
  names: readonly string[] | string | null | undefined,
  available: readonly string[],
): string[] {
  const list = typeof names === 'string' ? [names] : (names ?? []);
  return list.map((given) => {
    const upper = given.toUpperCase();
    if (upper === ALL) return ALL;
    const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
    if (!CAPABILITIES.includes(name)) throw invalid(`unknown capability: "${name}"`);
    if (!available.includes(name)) {
      throw invalid(`capability not supported by your kernel or not available in the current environment: "${name}"`);
    }
    return name;
  });
}

export function containerCapabilities(
  settings: Pick<HostSettings, 'CapAdd' | 'CapDrop' | 'Privileged'>,
  available: readonly string[],
): string[] {
  if (settings.Privileged) return [...available];
  const add = normalizeCapabilities(settings.CapAdd, available);
  const drop = normalizeCapabilities(settings.CapDrop, available);
  if (add.includes(ALL)) return available.filter((name) => !drop.includes(name));
  const kept = drop.includes(ALL) ? [] : DEFAULT_CAPABILITIES.filter((name) => !drop.includes(name));
  return [...new Set([...kept, ...add])];
}

export const capabilitySets = (names: readonly string[]): CapabilitySets => ({
  bounding: [...names],
  effective: [...names],
  permitted: [...names],
  inheritable: [],
  ambient: [],
});

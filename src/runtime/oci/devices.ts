/** Device nodes of the container and the rules of its device cgroup. */
import { invalid } from '../../errors.ts';
import type { HostSettings } from './docker-types.ts';
import { defaultDeviceRules } from './defaults.ts';
import type { Device, DeviceRule } from './spec-types.ts';

/** A device node found on the host for an entry of HostConfig.Devices, at its path in the container. */
export interface FoundDevice {
  device: Device;
  access: string;
  /** The entry named the same path inside and outside. */
  samePath: boolean;
}

const RULE = /^([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/;

/** `c 10:200 rwm` → a rule that allows; `*` is every number. */
export function parseDeviceRule(text: string): DeviceRule {
  const match = RULE.exec(text);
  if (!match) throw invalid(`invalid device cgroup rule format: '${text}'`);
  const number = (field: string): number => (field === '*' ? -1 : Number(field));
  return { allow: true, type: match[1]!, major: number(match[2]!), minor: number(match[3]!), access: match[4]! };
}

/** The letters r, w and m, each once at most. */
export const isDeviceMode = (mode: string): boolean => /^[rwm]{1,3}$/.test(mode) && new Set(mode).size === mode.length;

const ruleOf = ({ device, access }: FoundDevice): DeviceRule => ({
  allow: true,
  type: device.type,
  major: device.major,
  minor: device.minor,
  access,
});

export function containerDevices(
  settings: HostSettings,
  found: readonly FoundDevice[],
  hostDevices: readonly Device[],
): { devices: Device[]; rules: DeviceRule[] } {
  if (settings.Privileged) {
    // The host's own /dev is there already; only those at another path are added.
    const moved = found.filter((entry) => !entry.samePath).map((entry) => entry.device);
    return { devices: [...hostDevices, ...moved], rules: [{ allow: true, access: 'rwm' }] };
  }
  return {
    devices: found.map((entry) => entry.device),
    rules: [...defaultDeviceRules(), ...found.map(ruleOf), ...(settings.DeviceCgroupRules ?? []).map(parseDeviceRule)],
  };
}

/** What is kept of a volume, and how the API shows it. */
import type { VolumeInfo } from './port.ts';

export interface VolumeRecord {
  readonly name: string;
  readonly driver: string;
  readonly scope: 'local' | 'global';
  /** RFC 3339. */
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  /** `creating` and `removing` are intents: after a crash the volume is taken away in both. */
  state: 'creating' | 'active' | 'removing';
  /** As last told by the driver. */
  mountpoint: string;
}

export const ANONYMOUS_LABEL = 'com.docker.volume.anonymous';

export const isAnonymous = (record: VolumeRecord): boolean => ANONYMOUS_LABEL in record.labels;

export const hasOptions = (record: VolumeRecord): boolean => Object.keys(record.options).length > 0;

export function volumeView(record: VolumeRecord): VolumeInfo {
  return {
    CreatedAt: record.createdAt,
    Driver: record.driver,
    Labels: { ...record.labels },
    Mountpoint: record.mountpoint,
    Name: record.name,
    Options: hasOptions(record) ? { ...record.options } : null,
    Scope: record.scope,
  };
}

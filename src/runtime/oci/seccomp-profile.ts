/** Docker's form of a seccomp profile: OCI's, with conditions. */
import type { Seccomp, SeccompCall } from './spec-types.ts';

export interface SeccompFilter {
  caps?: string[];
  arches?: string[];
  /** "4.8": the kernel must be at least that. */
  minKernel?: string;
}

export interface ConditionalCall extends Omit<SeccompCall, 'names'> {
  names?: string[];
  /** The old form, for one call. */
  name?: string;
  comment?: string;
  includes?: SeccompFilter;
  excludes?: SeccompFilter;
}

export interface SeccompProfile extends Omit<Seccomp, 'syscalls'> {
  archMap?: { architecture: string; subArchitectures?: string[] | null }[];
  syscalls?: ConditionalCall[];
}

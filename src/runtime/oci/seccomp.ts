/** Seccomp profiles in Docker's form (conditions of architecture, capability and kernel) → what an OCI runtime takes. */
import { invalid } from '../../errors.ts';
import { DEFAULT_SECCOMP } from './seccomp-default.ts';
import type { ConditionalCall, SeccompProfile } from './seccomp-profile.ts';
import type { Seccomp } from './spec-types.ts';

export interface SeccompTarget {
  /** Docker's name of the machine: amd64. */
  architecture: string;
  kernelVersion: string;
  /** False: the kernel has no x32 ABI. */
  x32?: boolean;
  /** The bounding set of the container. */
  capabilities: readonly string[];
}

/** Docker's name of a machine → libseccomp's. */
const NATIVE: Readonly<Record<string, string>> = {
  '386': 'SCMP_ARCH_X86',
  amd64: 'SCMP_ARCH_X86_64',
  arm: 'SCMP_ARCH_ARM',
  arm64: 'SCMP_ARCH_AARCH64',
  loong64: 'SCMP_ARCH_LOONGARCH64',
  ppc64le: 'SCMP_ARCH_PPC64LE',
  riscv64: 'SCMP_ARCH_RISCV64',
  s390x: 'SCMP_ARCH_S390X',
};

/** True when kernel `version` ("6.1.0-rc3") is at least `minimum` ("4.8"); what comes after the second number is not compared. */
export function kernelAtLeast(version: string, minimum: string): boolean {
  const numbers = (text: string): [number, number] => {
    const match = /^(\d+)\.(\d+)/.exec(text);
    if (!match) throw invalid(`invalid kernel version: "${text}", expected "<kernel>.<major>"`);
    return [Number(match[1]), Number(match[2])];
  };
  const [have, want] = [numbers(version), numbers(minimum)];
  return have[0] !== want[0] ? have[0] > want[0] : have[1] >= want[1];
}

function applies(call: ConditionalCall, target: SeccompTarget): boolean {
  const { includes, excludes } = call;
  const has = (capability: string): boolean => target.capabilities.includes(capability);
  if (excludes?.arches?.includes(target.architecture)) return false;
  if (excludes?.caps?.some(has)) return false;
  if (excludes?.minKernel && kernelAtLeast(target.kernelVersion, excludes.minKernel)) return false;
  if (includes?.arches?.length && !includes.arches.includes(target.architecture)) return false;
  if (includes?.caps?.length && !includes.caps.every(has)) return false;
  return !includes?.minKernel || kernelAtLeast(target.kernelVersion, includes.minKernel);
}

function namesOf(call: ConditionalCall): string[] {
  if (call.name && call.names?.length) {
    throw invalid("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
  }
  return call.name ? [call.name] : (call.names ?? []);
}

/** Undefined when the profile says nothing at all: then there is no filter. */
export function resolveSeccomp(profile: SeccompProfile, target: SeccompTarget): Seccomp | undefined {
  const { archMap, syscalls, architectures, ...rest } = profile;
  if (!rest.defaultAction && !syscalls?.length) return undefined;
  if (architectures?.length && archMap?.length) {
    throw invalid(
      "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
  }
  const native = archMap?.find((entry) => entry.architecture === NATIVE[target.architecture]);
  const chosen = native ? [native.architecture, ...(native.subArchitectures ?? [])] : architectures;
  const calls = (syscalls ?? []).filter((call) => applies(call, target));
  return {
    ...rest,
    ...(chosen?.length ? { architectures: chosen } : {}),
    syscalls: calls.map((call) => ({
      names: namesOf(call),
      action: call.action,
      ...(call.errnoRet === undefined ? {} : { errnoRet: call.errnoRet }),
      ...(call.args?.length ? { args: call.args } : {}),
    })),
  };
}

export function parseSeccompProfile(text: string): SeccompProfile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw invalid(`Decoding seccomp profile failed: ${(error as Error).message}`, { cause: error });
  }
  const profile = parsed as SeccompProfile | null;
  if (typeof profile !== 'object' || profile === null || !Array.isArray(profile.syscalls ?? [])) {
    throw invalid('Decoding seccomp profile failed: it must be an object with a list of syscalls');
  }
  return profile;
}

/** `unconfined`, `builtin` or `` for the default, else the JSON text of a profile. */
export function seccompFor(choice: string, target: SeccompTarget): Seccomp | undefined {
  if (choice === 'unconfined') return undefined;
  if (choice !== '' && choice !== 'builtin') return resolveSeccomp(parseSeccompProfile(choice), target);
  const filter = resolveSeccomp(DEFAULT_SECCOMP, target);
  return target.x32 === false && filter ? withoutX32(filter) : filter;
}

/**
 * A third of the work of loading the filter, at each start and exec, is for an ABI that the kernel may not have. Without it in the filter such a call ends the
 * caller (SIGSYS), where the kernel would have answered ENOSYS.
 */
const withoutX32 = (filter: Seccomp): Seccomp => ({
  ...filter,
  architectures: filter.architectures?.filter((name) => name !== 'SCMP_ARCH_X32'),
});

/**
 * Runtimes whose version is from before known escapes were closed. Distributions patch old versions without a new number, so
 * this warns and refuses nothing.
 */
import { own } from '../lib/own.ts';

interface Hole {
  names: string;
  /** First fixed version of each release line, ascending; lines after the last are fixed, those before the first never were. */
  fixed: readonly (readonly [number, number, number])[];
}

const HOLES: Readonly<Record<string, readonly Hole[]>> = {
  runc: [
    { names: 'CVE-2024-21626', fixed: [[1, 1, 12]] },
    {
      names: 'CVE-2025-31133, CVE-2025-52565, CVE-2025-52881',
      fixed: [
        [1, 2, 8],
        [1, 3, 3],
        [1, 4, 0],
      ],
    },
  ],
  crun: [{ names: 'CVE-2025-24965', fixed: [[1, 20, 0]] }],
};

type Version = readonly [major: number, minor: number, patch: number];

const compare = (a: Version, b: Version): number => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];

function isClosed(version: Version, { fixed }: Hole): boolean {
  const line = fixed.find(([major, minor]) => major === version[0] && minor === version[1]);
  return compare(version, line ?? fixed.at(-1)!) >= 0;
}

/** One line for each set of holes, by the runtime's name and what it says of itself; none for runtimes we know nothing of. */
export function runtimeWarnings(name: string, version: string): string[] {
  const [, major, minor, patch] = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined) return [];
  const parsed: Version = [Number(major), Number(minor), Number(patch)];
  return (own(HOLES, name) ?? [])
    .filter((hole) => !isClosed(parsed, hole))
    .map(
      ({ names, fixed }) =>
        `WARNING: ${name} ${version} is from before ${names} were closed (in ${fixed.map((one) => one.join('.')).join(', ')}): make sure that your distribution has patched it`,
    );
}

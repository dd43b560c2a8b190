/** The small languages inside mount specifications: modes of a bind, options of a tmpfs, subpaths. */
import { posix } from 'node:path';
import { invalid } from '../errors.ts';

export type Propagation = 'private' | 'rprivate' | 'shared' | 'rshared' | 'slave' | 'rslave';

export const PROPAGATIONS: ReadonlySet<string> = new Set([
  'private',
  'rprivate',
  'shared',
  'rshared',
  'slave',
  'rslave',
]);

export interface Modes {
  writable: boolean;
  propagation: Propagation | undefined;
  copy: boolean;
  explicitCopy: boolean;
}

/** Of each group one word at most may stand in a mode. Labels and consistency mean nothing here, but are known. */
const GROUPS: readonly ReadonlySet<string>[] = [
  new Set(['rw', 'ro']),
  new Set(['z', 'Z']),
  PROPAGATIONS,
  new Set(['nocopy']),
  new Set(['consistent', 'cached', 'delegated', 'default']),
];

/** `ro,rslave` as data; undefined for what is no mode. The empty text is the default. */
export function parseModes(text: string): Modes | undefined {
  const words = text === '' ? [] : text.split(',');
  for (const group of GROUPS) if (words.filter((word) => group.has(word)).length > 1) return undefined;
  if (!words.every((word) => GROUPS.some((group) => group.has(word)))) return undefined;
  return {
    writable: !words.includes('ro'),
    propagation: words.find((word): word is Propagation => PROPAGATIONS.has(word)),
    copy: !words.includes('nocopy'),
    explicitCopy: words.includes('nocopy'),
  };
}

const UNITS: readonly [string, number][] = [
  ['g', 2 ** 30],
  ['m', 2 ** 20],
  ['k', 2 ** 10],
];

function sizeText(bytes: number): string {
  const unit = UNITS.find(([, factor]) => bytes % factor === 0);
  return unit ? `${bytes / unit[1]}${unit[0]}` : String(bytes);
}

interface TmpfsOptions {
  SizeBytes?: number | null;
  Mode?: number | null;
  Options?: (string[] | null)[] | null;
}

/** Options of a tmpfs mount as mount(8) takes them. Of the free ones only exec and noexec are known. */
export function mountOptionsText(options: TmpfsOptions, readOnly: boolean): string {
  const words: string[] = readOnly ? ['ro'] : [];
  if (options.Mode) words.push(`mode=${options.Mode.toString(8)}`);
  if (options.SizeBytes) words.push(`size=${sizeText(options.SizeBytes)}`);
  for (const pair of options.Options ?? []) {
    if (!pair || pair.length < 1 || pair.length > 2) throw invalid('invalid option array length');
    if (pair[0] !== 'exec' && pair[0] !== 'noexec') throw invalid(`invalid option: ${pair[0]}`);
    words.push(pair.join('='));
  }
  return words.join(',');
}

/** A relative path that lexically stays below where it starts. */
export function isLocalPath(path: string): boolean {
  if (path === '' || path.startsWith('/')) return false;
  const clean = posix.normalize(path);
  return clean !== '..' && !clean.startsWith('../');
}

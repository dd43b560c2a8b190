/** What is wrong with a Dockerfile, told with its line as the reference implementation tells it. */
import { DaemonError, invalid } from '../../errors.ts';

export function parseError(line: number, message: string): DaemonError {
  return invalid(`dockerfile parse error on line ${line}: ${message}`, { code: 'dockerfile' });
}

/** Edit distance of two short words. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + cost));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The option that was probably meant, if one is near. */
export function nearest(word: string, options: Iterable<string>): string | undefined {
  const lower = word.toLowerCase();
  const best = [...options]
    .map((option) => ({ option, far: distance(lower, option.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0];
  return best && best.far <= Math.max(1, Math.floor(best.option.length / 2)) ? best.option : undefined;
}

/** ` (did you mean X?)`, or nothing when no option is near. */
export function suggestion(word: string, options: readonly string[]): string {
  const near = nearest(word, options);
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

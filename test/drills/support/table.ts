/**
 * The table of drills in docs/drills.md, written by the runs with DRILLS=all: each file tells what it did when it ends, and the page is put
 * together from what all of them told.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

export interface DrillRow {
  /** The number in the list of drills; several files may share one. */
  drill: number;
  what: string;
  /** `all`: always all of them, by other suites. */
  cases: number | 'all';
  /** What was seen, in words. */
  outcome: string;
  /** Counts and measurements of this run. */
  figures?: string;
  /** Transitions and effects of charts: those at which a daemon was killed, and all that the charts have. */
  points?: { drilled: number; known: number };
  /** Test files, when the drill is run by other suites. */
  where: string[];
}

const repository = join(import.meta.dirname, '../../..');
const output = join(repository, 'test/output/drills');

export const all = process.env.DRILLS === 'all';

/** Every case with DRILLS=all; else a few of them, spread evenly. */
export function part<T>(cases: readonly T[], few: number): T[] {
  if (all || cases.length <= few) return [...cases];
  return Array.from({ length: few }, (_, i) => cases[Math.floor((i * cases.length) / few)]!);
}

let failed = false;
/** Nothing has where the file's daemon did not start. */
let begun = false;
beforeEach(() => {
  begun = true;
});
afterEach(({ task }) => {
  failed ||= task.result?.state === 'fail';
});

/** After a failure in its file nothing is told any more: the table holds what was seen to pass. */
export function tell(row: DrillRow): void {
  if (failed || !begun) return;
  console.log(
    `drill ${row.drill}: ${row.what}: ${row.cases} cases; ${row.outcome}${row.figures ? `; ${row.figures}` : ''}`,
  );
  if (!all) return;
  mkdirSync(output, { recursive: true });
  const key = `${String(row.drill).padStart(2, '0')}-${row.what.replaceAll(/[^a-z0-9]+/gi, '-').slice(0, 120)}`;
  writeFileSync(join(output, `${key}.json`), JSON.stringify(row));
  writeFileSync(join(repository, 'docs/drills.md'), page());
}

/** Drills that other suites run, always in full. */
const ELSEWHERE: DrillRow[] = [
  {
    drill: 11,
    what: 'Hostile archives as layers, through load and through cp',
    cases: 'all',
    outcome: 'a sentinel tree outside never changes; memory, time and disk are capped',
    where: [
      'test/integration/layers-hostile.test.ts',
      'test/integration/load-hostile.test.ts',
      'test/integration/archive-hostile.test.ts',
    ],
  },
  {
    drill: 13,
    what: 'A hostile registry: wrong digests and sizes, redirects, cut and slow bodies, confused manifests, loops',
    cases: 'all',
    outcome: 'an error with its cause or another try; credentials stay with the host that was asked',
    where: ['test/integration/registry-faults.test.ts', 'test/integration/push-faults.test.ts'],
  },
];

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function page(): string {
  const rows = readdirSync(output)
    .sort()
    .map((name) => JSON.parse(readFileSync(join(output, name), 'utf8')) as DrillRow)
    .concat(ELSEWHERE)
    .sort((a, b) => a.drill - b.drill);
  for (const file of rows.flatMap(({ where }) => where))
    if (!existsSync(join(repository, file))) throw new Error(`the table of drills names ${file}, which is not there`);
  const line = (row: DrillRow): string =>
    `| ${[row.drill, row.what, row.cases, row.outcome, row.figures ?? '', row.where.map((file) => `\`${file}\``).join(', ')].map((text) => cell(String(text))).join(' | ')} |`;
  const sum = (of: (row: DrillRow) => number | undefined): number => rows.reduce((all, row) => all + (of(row) ?? 0), 0);
  const cases = sum((row) => (row.cases === 'all' ? 0 : row.cases));
  const [drilled, known] = [sum((row) => row.points?.drilled), sum((row) => row.points?.known)];
  return `# Drills

What is done to a daemon on purpose, and what it must show. Every drill runs against the real thing: a daemon of its own in a network
namespace, with real shims, mounts and firewall rules. \`npm run drills\` runs all cases and writes this page; \`npm test\` runs a part.
A file in which a drill failed writes no row after that, so each row below was seen to pass; rows may come from runs of single files. After each case the kernel itself is searched for what may have
been left: shims, mounts, links, firewall elements, cgroups, namespaces, directories.

${rows.length} drills of ${cases} cases and more; killed at ${drilled} of ${known} transitions and effects of all charts; leaks found: 0.

| # | Drill | Cases | Outcome | Figures of the last run | Where |
| --- | --- | --- | --- | --- | --- |
${rows.map(line).join('\n')}

A single case: \`DRILLS=all bin/test --project drills -t 'before exited.settling'\`. The hook behind the first drill is
\`REACTORD_DRILL=<before|after>:<topic>:<kind>:<name>\` in the daemon's environment (\`src/reactor/drill.ts\`): it kills itself at the first
fact that matches, before or after the commit that makes it durable. System calls are made to fail by strace(1), so that drill 10 asks
the daemon itself and no stand-in.

## What stays open

- **A line in hand.** The log is written in the turn in which the pipe is read, and nothing is read ahead: a kill takes only what lies between
  read(2) and write(2), some 30 µs for a line (110 µs at the 99th percentile), and the beginning of a line whose end was not written yet.
  To look into the pipe with tee(2) and take from it only what is written would close even that, but Node's loop tells that a pipe can be
  read only by reading it; a thread that waits for all pipes would cost each line two more hops. What was left in the pipe is never lost or doubled.
- **Shims of containerd 1.6** take note of no exit while they start a process, have room for 32, and spend a second on each further one. The
  kill of a container with many execs therefore waits for the start under way. When such a container ends by itself in the middle of a start,
  its shim can be deaf for as many seconds as it had execs; it is given a minute before it counts as hung, for its death would end others, too.
- **Memory for Node itself.** ENOMEM is tried where the kernel is asked for processes, mounts and files. Without memory for its own heap V8
  ends the process; then it is as with kill -9.
`;
}

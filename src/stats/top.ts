/** The processes of a container, as the host's ps shows them. */
import { type DaemonError, internal, invalid } from '../errors.ts';
import { runTool } from '../lib/spawn.ts';

export interface TopResult {
  Titles: string[];
  Processes: string[][];
}

const PS_MS = 10_000;

/** A column that is called PID but holds something else would let ps's lines be taken for the container's. */
export function checkPsArguments(text: string): void {
  for (const [, column, title] of text.matchAll(/\s+([^\s]*)=\s*(PID[^\s]*)/g)) {
    if (column !== 'pid') throw invalid(`specifying "${column}=${title}" is not allowed`);
  }
}

const fields = (line: string): string[] => line.split(/[\t\n\f\r ]+/).filter(Boolean);

/** Keeps the lines of the given processes, and of threads (PID "-") below one of them. */
export function parsePs(output: string, pids: ReadonlySet<number>): TopResult {
  const [head = '', ...lines] = output.split('\n');
  const titles = fields(head);
  const column = titles.indexOf('PID');
  if (column < 0) throw internal("Couldn't find PID field in ps output");
  const processes: string[][] = [];
  let within = false;
  for (const line of lines) {
    const words = fields(line);
    const pid = words[column];
    if (pid === undefined) continue;
    if (pid !== '-') {
      if (!/^\d+$/.test(pid)) throw internal(`Unexpected pid '${pid}': it is no number`);
      within = pids.has(Number(pid));
    }
    // The last column takes what is left: commands have spaces.
    if (within) processes.push([...words.slice(0, titles.length - 1), words.slice(titles.length - 1).join(' ')]);
  }
  return { Titles: titles, Processes: processes };
}

export async function listProcesses(pids: readonly number[], psArguments: string): Promise<TopResult> {
  const text = psArguments || '-ef';
  checkPsArguments(text);
  const args = text.split(' ').filter(Boolean);
  const options = { deadline: PS_MS };
  // Some options of ps cannot stand beside -q: then all are listed, and ours picked out.
  const { stdout } = await runTool('ps', [...args, `-q${pids.join(',')}`], options).catch(() =>
    runTool('ps', args, options).catch((error: DaemonError) => {
      const said = error.message.split('\n')[0]!;
      throw internal(`ps: ${said.slice(said.indexOf('error:'))}`, { cause: error });
    }),
  );
  return parsePs(stdout, new Set(pids));
}

/** `reactord fsck [data root]`: checks the image store and says what is wrong. Exit 0 clean, 1 problems, 2 bad use. */
import { defaultConfig } from '../config/defaults.ts';
import { checkStore } from '../image/fsck.ts';

export async function fsck(args: string[]): Promise<number> {
  if (args.length > 1 || args[0]?.startsWith('-')) {
    process.stderr.write('Usage: reactord fsck [DATA-ROOT]\n');
    return 2;
  }
  const dataRoot = args[0] ?? defaultConfig.dataRoot;
  const problems = await checkStore(dataRoot);
  for (const problem of problems)
    process.stdout.write(`${typeof problem === 'string' ? problem : JSON.stringify(problem)}\n`);
  process.stdout.write(problems.length ? `${problems.length} problems\n` : `${dataRoot}: clean\n`);
  return problems.length ? 1 : 0;
}

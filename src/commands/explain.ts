/** `reactord explain <container>` and `reactord chart <container> [--mermaid]`: the visualizer's answers in the terminal. */
import { parseArgs } from 'node:util';
import { explain as explainText, type WireFact } from '../visualizer/explain.ts';
import { mermaid, tree } from '../visualizer/mermaid.ts';
import type { ActorView, Chart } from '../visualizer/view.ts';
import type { Chain } from '../visualizer/why.ts';
import { DaemonClient, socketOf } from './client.ts';

const OPTIONS = {
  host: { type: 'string', short: 'H' },
  kind: { type: 'string', default: 'container' },
  mermaid: { type: 'boolean', default: false },
} as const;

const RECENT = 5000;

interface Call {
  client: DaemonClient;
  path: string;
  mermaid: boolean;
}

function read(args: string[], usage: string): Call {
  const { values, positionals } = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  if (positionals.length !== 1) throw new Error(`Usage: ${usage}`);
  return {
    client: new DaemonClient(socketOf(values.host)),
    path: `/reactord/actors/${values.kind}/${encodeURIComponent(positionals[0]!)}`,
    mermaid: values.mermaid,
  };
}

/** The explanation of the actor at a path below /reactord. */
export async function explanation(client: DaemonClient, path: string): Promise<string> {
  const [actor, facts, chain] = await Promise.all([
    client.get<ActorView>(path),
    client.get<WireFact[]>(`${path}/history?limit=${RECENT}`),
    client.get<Chain>(`${path}/why`),
  ]);
  return explainText(actor, facts, chain, Date.now());
}

export async function explain(args: string[]): Promise<number> {
  const { client, path } = read(args, 'reactord explain [-H unix://…] [--kind KIND] NAME');
  process.stdout.write(`${await explanation(client, path)}\n`);
  return 0;
}

export async function chart(args: string[]): Promise<number> {
  const call = read(args, 'reactord chart [-H unix://…] [--kind KIND] [--mermaid] NAME');
  const drawn = await call.client.get<Chart & { active: string[] }>(`${call.path}/chart`);
  process.stdout.write(`${call.mermaid ? mermaid(drawn, drawn.active) : tree(drawn, drawn.active)}\n`);
  return 0;
}

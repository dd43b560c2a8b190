/**
 * `npm run bench -- [--rounds N] [--peers reactord,dockerd,podman] [case …]`: measures us beside dockerd, and podman, on this machine, alternating, in one run.
 * Prints a table of medians and ratios, and writes bench-result.json (path by --out). SIGINT ends it after the case in hand, with what is
 * there by then; a second one at once, with everything left where it lies.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { parseArgs } from 'node:util';
import { pushBusybox } from '../test/support/fixture-image.ts';
import { startRegistry } from '../test/support/registry.ts';
import { cases } from './cases.ts';
import { pushBigImage } from './images.ts';
import { type Peer, startPeer } from './peers.ts';
import { type Row, series, table } from './stats.ts';

const { values: flags, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    peers: { type: 'string', default: 'reactord,dockerd' },
    out: { type: 'string', default: 'bench-result.json' },
  },
});
const rounds = Number(flags.rounds);
const names = flags.peers.split(',');
const chosen = wanted.length ? cases.filter((one) => wanted.some((word) => one.name.includes(word))) : cases;

const netnsName = `bench-${randomBytes(3).toString('hex')}`;
execFileSync('ip', ['netns', 'add', netnsName]);
execFileSync('ip', ['-n', netnsName, 'link', 'set', 'lo', 'up']);
const netns = `/run/netns/${netnsName}`;
const registry = await startRegistry({ netns });
const peers: Peer[] = [];
const rows: Row[] = [];
let isOver = false;
process.once('SIGINT', () => (isOver = true));
try {
  await pushBusybox(registry, 'busybox:latest');
  const bigImage = chosen.some((one) => one.name.includes('pull')) ? await pushBigImage(registry) : '';
  for (const name of names) {
    // Each in a namespace of its own would hide the registry; one after the other they share one without meeting.
    const peer = await startPeer(name, { image: `${registry.host}/busybox:latest`, bigImage, netns });
    peers.push(peer);
    peer.docker('pull', '-q', peer.image);
    await peer.halt();
  }
  for (const one of chosen) {
    if (isOver) break;
    const samples = new Map<string, number[]>();
    for (let round = 0; round < (one.rounds ?? rounds) && !isOver; round++) {
      for (const peer of round % 2 ? [...peers].reverse() : peers) {
        await peer.startAgain();
        try {
          const value = await one.measure(peer);
          samples.set(peer.name, [...(samples.get(peer.name) ?? []), value]);
        } catch (error) {
          console.error(`${one.name}: ${peer.name}: ${(error as Error).message}`);
        } finally {
          await peer.halt();
        }
      }
    }
    const row: Row = {
      case: one.name,
      unit: one.unit,
      rate: one.rate ?? false,
      goal: one.goal,
      peers: Object.fromEntries([...samples].map(([name, list]) => [name, series(list)])),
    };
    rows.push(row);
    console.error(table([row], names).split('\n').at(-1));
  }
} finally {
  for (const peer of peers) {
    await peer.startAgain().catch(() => {});
    await peer.stop().catch((error: unknown) => console.error(String(error)));
  }
  await registry.stop();
  execFileSync('ip', ['netns', 'del', netnsName]);
}
const versions = peers.map((peer) => `${peer.name} ${peer.version}`).join(', ');
const runc = execFileSync('runc', ['--version'], { encoding: 'utf8' }).split('\n')[0];
console.log(`${versions}; ${runc}; kernel ${release()}; ${rounds} rounds, alternating; median (95th percentile)\n`);
console.log(table(rows, names));
writeFileSync(flags.out, JSON.stringify({ versions, runc, kernel: release(), rounds, rows }, null, 2));
process.exit(0);

/** Bytes a second. */
import { request } from 'node:http';
import type { Case } from '../case.ts';
import { created, milliseconds, remove, start } from '../work.ts';

const MIB = 1 << 20;
const LINE_COUNT = 500_000;
const LINE_BYTES = LINE_COUNT * 100;
const LINES = `yes "${'x'.repeat(99)}" | head -n ${LINE_COUNT}`;

export const byteCases: Case[] = [
  {
    name: 'pull 300 MB, 8 layers',
    unit: 's',
    goal: '≤ 0.50',
    rounds: 3,
    async measure(peer) {
      const time = await milliseconds(() => peer.docker('pull', '-q', peer.bigImage));
      peer.docker('rmi', peer.bigImage);
      return time / 1000;
    },
  },
  {
    name: 'a ping meanwhile (pull), 99th percentile',
    unit: 'ms',
    goal: '≤ 20 ms',
    async measure(peer) {
      let isPulled = false;
      const pulled = peer
        .call('POST', `/images/create?fromImage=${encodeURIComponent(peer.bigImage)}`)
        .finally(() => (isPulled = true));
      const times: number[] = [];
      while (!isPulled) times.push(await milliseconds(() => peer.call('GET', '/_ping')));
      await pulled;
      peer.docker('rmi', peer.bigImage);
      return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!;
    },
  },
  {
    name: 'attached stdout',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 2 ×',
    async measure(peer) {
      const id = await created(peer, {
        Cmd: ['sh', '-c', 'head -c 268435456 /dev/zero'],
        AttachStdout: true,
        HostConfig: { LogConfig: { Type: 'none' }, NetworkMode: 'none' },
      });
      const time = await milliseconds(
        () =>
          new Promise<void>((resolve, reject) => {
            const call = request({
              socketPath: peer.socket,
              method: 'POST',
              path: `/containers/${id}/attach?stream=1&stdout=1`,
              headers: { connection: 'Upgrade', upgrade: 'tcp' },
            });
            call.on('upgrade', (_, socket) => {
              socket.resume();
              socket.on('end', resolve);
              socket.on('close', resolve);
              start(peer, id).catch(reject);
            });
            call.on('error', reject);
            call.end();
          }),
      );
      await remove(peer, id);
      return 256 / (time / 1000);
    },
  },
  {
    name: 'json-file, 100-byte lines',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 3 ×',
    async measure(peer) {
      const id = await created(peer, { Cmd: ['sh', '-c', LINES], HostConfig: { NetworkMode: 'none' } });
      const time = await milliseconds(async () => {
        await start(peer, id);
        await peer.call('POST', `/containers/${id}/wait`);
      });
      await remove(peer, id);
      return LINE_BYTES / MIB / (time / 1000);
    },
  },
  {
    name: 'logs read back',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 2 ×',
    async measure(peer) {
      const id = await created(peer, { Cmd: ['sh', '-c', LINES], HostConfig: { NetworkMode: 'none' } });
      await start(peer, id);
      await peer.call('POST', `/containers/${id}/wait`);
      const time = await milliseconds(() => peer.call('GET', `/containers/${id}/logs?stdout=1`));
      await remove(peer, id);
      return LINE_BYTES / MIB / (time / 1000);
    },
  },
];

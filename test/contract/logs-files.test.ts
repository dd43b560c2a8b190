/** What every log that can be read back does: json-file, local, and the copy of one that goes elsewhere. */
import { appendFileSync, existsSync, readdirSync, truncateSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { newId } from '../../src/lib/ids.ts';
import { createLogDrivers } from '../../src/logs/drivers.ts';
import type { LogConfig, LogDrivers, LogEntry, LogInfo, LogWriter, ReadOptions } from '../../src/logs/port.ts';
import { eventually } from '../support/eventually.ts';

const ALL: ReadOptions = { stdout: true, stderr: true, tail: -1, follow: false };

/** Goes on from test to test: times of entries never go back within a process. */
let now = 1_700_000_000_000;

for (const driver of ['json-file', 'local', 'syslog'] as const) {
  describe(`the ${driver} log`, () => {
    let root: string;
    let drivers: LogDrivers;
    let info: LogInfo;
    let base: LogConfig;
    const cleanups: (() => unknown)[] = [];
    const rotating = (): LogConfig => {
      const prefix = driver === 'syslog' ? 'cache-' : '';
      return { ...base, Config: { ...base.Config, [`${prefix}max-size`]: '2k', [`${prefix}max-file`]: '3' } };
    };
    const read = async (options: Partial<ReadOptions> = {}, config = base): Promise<string[]> => {
      const lines: string[] = [];
      for await (const batch of drivers.batches(config, info, { ...ALL, ...options }, textsOf)) lines.push(...batch);
      return lines;
    };
    const textsOf = (batch: LogEntry[]): string[] => batch.map(({ line }) => Buffer.from(line).toString());
    const write = (writer: LogWriter, from: number, to: number): void => {
      for (let number = from; number <= to; number++) void writer.write('stdout', Buffer.from(`line ${number}\n`));
    };
    const numbers = (lines: string[]): number[] => lines.map((line) => Number(/\d+/.exec(line)?.[0]));

    beforeEach(async () => {
      root = await mkdtemp(join(tmpdir(), 'logs-'));
      base = { Type: driver, Config: {} };
      if (driver === 'syslog') {
        const path = join(root, 'syslog.sock');
        const server = createServer((socket) => socket.resume());
        await new Promise<void>((resolve) => server.listen(path, resolve));
        cleanups.push(() => server.close());
        base = { Type: driver, Config: { 'syslog-address': `unix://${path}` } };
      }
      drivers = createLogDrivers({
        config: defaultConfig,
        log: pino({ level: 'silent' }),
        clock: { now: () => now, after: () => () => {} },
      });
      const containerId = newId();
      info = {
        containerId,
        name: '/web',
        imageId: `sha256:${newId()}`,
        imageName: 'busybox',
        created: '2026-11-30T00:00:00Z',
        command: ['sh'],
        env: ['MODE=fast'],
        labels: { app: 'shop' },
        directory: join(root, containerId),
      };
    });
    afterEach(async () => {
      for (const cleanup of cleanups.splice(0)) await cleanup();
      await rm(root, { recursive: true });
    });

    it('gives back what was written, by stream, tail and time, and after a restart goes on behind it', async () => {
      const writer = await drivers.open(base, info);
      write(writer, 1, 3);
      now += 10_000;
      void writer.write('stderr', Buffer.from('error 4\nunfin'));
      void writer.write('stderr', Buffer.from('ished 5'));
      await writer.close();
      expect(numbers(await read())).toEqual([1, 2, 3, 4, 5]);
      expect((await read()).at(-1)).toBe('unfinished 5');
      expect(numbers(await read({ stderr: false }))).toEqual([1, 2, 3]);
      expect(numbers(await read({ tail: 2 }))).toEqual([4, 5]);
      expect(await read({ tail: 0 })).toEqual([]);
      expect(numbers(await read({ tail: 99 }))).toEqual([1, 2, 3, 4, 5]);
      const later = BigInt(now - 5_000) * 1_000_000n;
      expect(numbers(await read({ sinceNano: later }))).toEqual([4, 5]);
      expect(numbers(await read({ untilNano: later }))).toEqual([1, 2, 3]);
      const again = await drivers.open(base, info);
      const tail = drivers.batches(base, info, { ...ALL, tail: 2 }, textsOf)[Symbol.asyncIterator]();
      const first = tail.next();
      write(again, 6, 6);
      expect(numbers((await first).value as string[])).toEqual([4, 5]);
      expect((await tail.next()).done).toBe(true);
      await again.close();
      expect(numbers(await read({ tail: 2 }))).toEqual([5, 6]);
    });

    it('keeps long lines whole in parts of 16 KiB', async () => {
      const writer = await drivers.open(base, info);
      const long = `${'é'.repeat(20_000)}\n`;
      const bytes = Buffer.from(long);
      for (let at = 0; at < bytes.length; at += 30_001) void writer.write('stdout', bytes.subarray(at, at + 30_001));
      await writer.close();
      const lines = await read();
      expect(lines.length).toBeGreaterThan(2);
      expect(lines.join('')).toBe(long);
      expect(lines.slice(0, -1).every((line) => !line.includes('\n'))).toBe(true);
    });

    it('follows the writer over rotations without a gap or a repeat, and ends when it closes', async () => {
      const config = rotating();
      const writer = await drivers.open(config, info);
      write(writer, 1, 5);
      const seen: number[] = [];
      const following = (async () => {
        for await (const batch of drivers.batches(config, info, { ...ALL, follow: true, tail: 2 }, textsOf))
          seen.push(...numbers(batch));
      })();
      await eventually(() => seen.length === 2);
      for (let number = 6; number <= 300; number++) {
        write(writer, number, number);
        if (number % 10 === 0) await eventually(() => seen.at(-1) === number);
      }
      await writer.close();
      await following;
      expect(seen).toEqual(Array.from({ length: 297 }, (_, index) => index + 4));
      const kept = numbers(await read({}, config));
      expect(kept.at(-1)).toBe(300);
      expect(kept).toEqual(Array.from({ length: kept.length }, (_, index) => 301 - kept.length + index));
      expect(numbers(await read({ tail: kept.length - 1 }, config))).toEqual(kept.slice(1));
      expect(kept.length).toBeLessThan(200);
    });

    it('lets a follower go that was cancelled', async () => {
      const writer = await drivers.open(base, info);
      const controller = new AbortController();
      const reading = read({ follow: true, signal: controller.signal });
      write(writer, 1, 1);
      controller.abort();
      await reading;
      await writer.close();
    });

    it('heals a record that a crash cut short', async () => {
      const writer = await drivers.open(base, info);
      write(writer, 1, 2);
      await writer.close();
      const file = [join(info.directory, 'container-cached.log'), drivers.path(base, info)].find(
        (path) => path && existsSync(path),
      )!;
      if (driver === 'json-file') appendFileSync(file, '{"log":"li');
      else truncateSync(file, (await import('node:fs')).statSync(file).size - 3);
      const again = await drivers.open(base, info);
      write(again, 3, 3);
      await again.close();
      expect(numbers(await read())).toEqual(driver === 'json-file' ? [1, 2, 3] : [1, 3]);
    });

    it('takes everything along when it is removed', async () => {
      const config = rotating();
      const writer = await drivers.open(config, info);
      write(writer, 1, 200);
      await writer.close();
      await drivers.remove(info);
      expect(readdirSync(info.directory)).toEqual([]);
    });
  });
}

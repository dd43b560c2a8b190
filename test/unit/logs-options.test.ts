import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createLogDrivers } from '../../src/logs/drivers.ts';
import { parseSize } from '../../src/logs/options.ts';
import type { LogConfig, LogInfo, LogStream } from '../../src/logs/port.ts';
import { RingWriter } from '../../src/logs/ring.ts';
import { attributesOf, tagOf } from '../../src/logs/tag.ts';

const drivers = createLogDrivers({ config: defaultConfig, log: pino({ level: 'silent' }), clock: systemClock });
const info: LogInfo = {
  containerId: 'c0ffee'.padEnd(64, '0'),
  name: '/web',
  imageId: `sha256:${'ab'.repeat(32)}`,
  imageName: 'shop:1',
  created: '',
  command: ['run', 'it'],
  env: ['MODE=fast', 'KEY=1', 'EMPTY'],
  labels: { app: 'shop', 'app.tier': 'web' },
  directory: '/nowhere',
};

describe('log options', () => {
  it('are refused in dockerd’s words', () => {
    const refused = (Type: string, Config: Record<string, string>): string => {
      try {
        drivers.validate({ Type, Config });
        return '';
      } catch (error) {
        expect(error).toMatchObject({ kind: 'invalid' });
        return (error as Error).message;
      }
    };
    expect(refused('nonesuch', {})).toBe('error looking up logging plugin nonesuch: plugin "nonesuch" not found');
    expect(refused('json-file', { nonesuch: '1' })).toBe("unknown log opt 'nonesuch' for json-file log driver");
    expect(refused('json-file', { 'max-file': '0' })).toBe('max-file cannot be less than 1');
    expect(refused('json-file', { 'max-size': 'ten' })).toBe("invalid size: 'ten'");
    expect(refused('json-file', { compress: 'true' })).toContain('compress cannot be true');
    expect(refused('local', { mode: 'sometimes' })).toBe('logger: logging mode not supported: sometimes');
    expect(refused('local', { 'max-buffer-size': '1m' })).toContain('max-buffer-size option is only supported with');
    expect(refused('syslog', { 'syslog-facility': 'nonesuch' })).toBe('invalid syslog facility');
    expect(refused('syslog', { 'syslog-address': 'localhost' })).toContain('proto://address');
    expect(refused('gelf', {})).toBe('gelf-address is a required parameter');
    expect(refused('fluentd', { 'fluentd-address': 'http://x' })).toContain("unsupported scheme: 'http'");
    expect(refused('none', { anything: 'goes' })).toBe('');
    expect(
      refused('json-file', { 'max-size': '10m', 'max-file': '3', compress: 'true', labels: 'a', mode: 'non-blocking' }),
    ).toBe('');
  });

  it('say sizes as Docker does', () => {
    expect(['10', '1k', '1.5 KB', '2m', '1GiB'].map((text) => parseSize(text))).toEqual([10, 1024, 1536, 2 << 20, 1 << 30]);
    expect(['10', '1k', '2m'].map((text) => parseSize(text, 'decimal'))).toEqual([10, 1000, 2_000_000]);
  });

  it('choose tags and attributes', () => {
    expect(tagOf({ tag: '{{.Name}}/{{.ID}}/{{ .ImageName }}' }, info, '')).toBe('web/c0ffee000000/shop:1');
    expect(() => tagOf({ tag: '{{.Nonesuch}}' }, info, '')).toThrow(/invalid tag/);
    expect(
      attributesOf({ labels: 'app,other', 'labels-regex': '^app\\.', env: 'MODE', 'env-regex': '^EM' }, info),
    ).toEqual({ app: 'shop', 'app.tier': 'web', MODE: 'fast', EMPTY: '' });
  });

  it('say that a log that goes nowhere cannot be read', () => {
    const all = { stdout: true, stderr: true, tail: -1, follow: false };
    const read = (config: LogConfig): unknown => drivers.batches(config, info, all, () => undefined);
    expect(() => read({ Type: 'none', Config: {} })).toThrow('configured logging driver does not support reading');
    expect(() => read({ Type: 'journald', Config: { 'cache-disabled': 'true' } })).toThrow(/does not support/);
  });
});

describe('a non-blocking log', () => {
  it('never makes the container wait, and loses what does not fit', async () => {
    const gate = Promise.withResolvers<void>();
    const taken: string[] = [];
    const slow = {
      write(_stream: LogStream, chunk: Uint8Array) {
        taken.push(Buffer.from(chunk).toString());
        return gate.promise;
      },
      close: async () => {},
    };
    const ring = new RingWriter(slow, 10, () => {});
    for (const text of ['aaaa', 'bbbb', 'cccc', 'dd']) expect(ring.write('stdout', Buffer.from(text))).toBeUndefined();
    gate.resolve();
    await ring.close();
    expect(taken).toEqual(['aaaa', 'bbbb', 'dd']);
    expect(ring.dropped).toBe(1);
  });
});

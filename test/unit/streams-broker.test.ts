import { Duplex, PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { LogWriter } from '../../src/logs/port.ts';
import { type BrokerOptions, type BrokerProcess, StreamBroker } from '../../src/streams/broker.ts';
import { eventually } from '../support/eventually.ts';

function processOf(): BrokerProcess & {
  stdin: PassThrough;
  stdout: PassThrough;
  stderr: PassThrough;
  closed: number;
  end(): void;
} {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  return {
    io: { stdin, stdout, stderr },
    stdin,
    stdout,
    stderr,
    closed: 0,
    async closeStdin() {
      this.closed++;
      stdin.end();
    },
    end() {
      stdout.end();
      stderr.end();
    },
  };
}

/** A client's connection: what it was sent, and a way to send. With `reads` off it takes nothing. */
function clientOf(reads = true): Duplex & { received(): string } {
  const chunks: Buffer[] = [];
  const connection = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, callback) {
      if (!reads) return;
      chunks.push(chunk);
      callback();
    },
  });
  return Object.assign(connection, { received: () => Buffer.concat(chunks).toString('latin1') });
}

/** All that waits in a stream. */
function waiting(stream: PassThrough): string {
  const chunks: Buffer[] = [];
  for (let chunk = stream.read(); chunk; chunk = stream.read()) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const broker = (options: Partial<BrokerOptions> = {}): StreamBroker =>
  new StreamBroker({ tty: false, stdinOnce: true, ...options });
const everything = { stdin: true, stdout: true, stderr: true };

describe('the streams of a container', () => {
  it('go to clients that attached before the start, in frames, and end with the run', async () => {
    const streams = broker();
    const client = clientOf();
    const end = streams.attach(everything).serve(client);
    client.push('early ');
    const process = processOf();
    const drained = streams.connect(process);
    client.push('late');
    client.push(null);
    process.stdout.write('out');
    process.stderr.write('error');
    await eventually(() => process.closed === 1);
    expect(waiting(process.stdin)).toBe('early late');
    process.end();
    await drained;
    expect(await end).toBe('ended');
    expect(client.received()).toBe('\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x05error');
  });

  it('serve the next run with the same broker and new clients', async () => {
    const streams = broker({ tty: true });
    for (const text of ['one', 'two']) {
      const attachment = streams.attach({ stdin: false, stdout: true, stderr: true });
      const process = processOf();
      const drained = streams.connect(process);
      process.stdout.write(text);
      process.end();
      await drained;
      // The client came late; what was said since it attached waits for it.
      const client = clientOf();
      expect(await attachment.serve(client)).toBe('ended');
      expect(client.received()).toBe(text);
      expect(streams.clients).toBe(0);
    }
  });

  it('reach the log whole while a client reads nothing, which is dropped in the end', async () => {
    const streams = broker({ stallMs: 50 });
    const lazy = clientOf(false);
    const end = streams.attach(everything).serve(lazy);
    const process = processOf();
    let logged = 0;
    let most = 0;
    const log: LogWriter = {
      write(_stream, chunk) {
        logged += chunk.length;
        most = Math.max(most, lazy.writableLength);
        return undefined;
      },
      close: async () => {},
    };
    const drained = streams.connect(process, log);
    const total = 64 * 65_536;
    for (let sent = 0; sent < total; sent += 65_536) process.stdout.write(Buffer.alloc(65_536, 'x'));
    process.end();
    await drained;
    expect(await end).toBe('gone');
    expect(lazy.destroyed).toBe(true);
    expect(logged).toBe(total);
    expect(most).toBeLessThan(1 << 20);
  });

  it('wait for a log that asks for it, and survive one that fails', async () => {
    const errors: unknown[] = [];
    const streams = broker({ onLogError: (error) => errors.push(error) });
    const process = processOf();
    const slow = Promise.withResolvers<void>();
    const taken: string[] = [];
    const log: LogWriter = {
      write(_stream, chunk) {
        taken.push(Buffer.from(chunk).toString());
        return taken.length === 1 ? slow.promise : Promise.reject(new Error('disk full'));
      },
      close: async () => {},
    };
    const drained = streams.connect(process, log);
    process.stdout.write('first');
    await eventually(() => process.stdout.isPaused());
    process.stdout.write('second');
    expect(taken).toEqual(['first']);
    slow.resolve();
    process.end();
    await drained;
    expect(taken).toEqual(['first', 'second']);
    expect(errors).toHaveLength(1);
  });

  it('let a terminal’s client go on its detach keys, and the process run on', async () => {
    const streams = broker({ tty: true, stdinOnce: false });
    const process = processOf();
    void streams.connect(process);
    const client = clientOf();
    const end = streams.attach({ ...everything, detachKeys: 'ctrl-a,d' }).serve(client);
    client.push('ab\x01');
    client.push('dignored');
    expect(await end).toBe('detached');
    expect(waiting(process.stdin)).toBe('ab');
    expect(process.closed).toBe(0);
    process.end();
  });

  it('are let go when the broker closes, with all that was read in the log', async () => {
    const streams = broker();
    const process = processOf();
    let logged = '';
    const log: LogWriter = {
      write(_stream, chunk) {
        logged += Buffer.from(chunk).toString();
        return logged.length > 5 ? new Promise(() => {}) : undefined;
      },
      close: async () => {},
    };
    void streams.connect(process, log);
    process.stdout.write('first ');
    await eventually(() => process.stdout.isPaused());
    process.stdout.write('second');
    streams.close();
    expect(logged).toBe('first second');
    expect(process.stdout.destroyed && process.stderr.destroyed).toBe(true);
    expect(() => streams.attach(everything)).toThrow('the container is being removed');
  });

  it('forget the input of a client that left before the start', async () => {
    const streams = broker();
    const client = clientOf();
    const end = streams.attach(everything).serve(client);
    client.push('lost');
    client.destroy();
    expect(await end).toBe('gone');
    const process = processOf();
    const drained = streams.connect(process);
    process.end();
    await drained;
    expect(process.closed).toBe(0);
    expect(waiting(process.stdin)).toBe('');
  });
});

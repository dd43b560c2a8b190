/**
 * Finds out how a stream is compressed by its first bytes, as every archive reader here must: media types lie. gzip and
 * zstd are Node's own; xz and bzip2 go through the host's tool, which runs outside of any container root.
 */
import { spawn } from 'node:child_process';
import { PassThrough, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { invalid, notFound } from '../errors.ts';

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** Output chunks of this size make gunzip more than twice as fast as the default. */
const CHUNK = 1 << 20;

export function compressionOf(head: Uint8Array): Compression {
  const starts = (...magic: number[]): boolean => magic.every((byte, i) => head[i] === byte);
  if (starts(0x1f, 0x8b, 0x08)) return 'gzip';
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)) return 'xz';
  if (starts(0x42, 0x5a, 0x68)) return 'bzip2';
  return 'none';
}

function tool(command: string, source: Readable): Readable {
  const child = spawn(command, ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '' } });
  const output = new PassThrough();
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + String(chunk)).slice(-1000)));
  child.stdout.pipe(output, { end: false });
  child.on('error', (error: NodeJS.ErrnoException) =>
    output.destroy(error.code === 'ENOENT' ? notFound(`${command}: not installed`, { cause: error }) : error),
  );
  child.on('close', (code) => {
    if (code === 0) output.end();
    else output.destroy(invalid(`${command}: ${words.trim() || 'failed'}`, { code: 'bad-archive' }));
  });
  child.stdin.on('error', () => source.destroy());
  source.on('error', (error) => output.destroy(error));
  source.pipe(child.stdin);
  output.on('close', () => {
    child.kill('SIGKILL');
    source.destroy();
  });
  return output;
}

function through(source: Readable, codec: NodeJS.ReadWriteStream & { destroy(error?: Error): unknown }): Readable {
  source.on('error', (error) => codec.destroy(error));
  codec.on('close', () => source.destroy());
  return source.pipe(codec) as unknown as Readable;
}

/** The uncompressed bytes of `source`. Destroying the result destroys the source, and errors come the other way. */
export async function decompress(source: Readable): Promise<Readable> {
  const head = await peek(source);
  switch (compressionOf(head)) {
    case 'gzip':
      return through(source, createGunzip({ chunkSize: CHUNK }));
    case 'zstd':
      return through(source, createZstdDecompress({ chunkSize: CHUNK }));
    case 'xz':
      return tool('xz', source);
    case 'bzip2':
      return tool('bzip2', source);
    case 'none':
      return source;
  }
}

/** The first bytes (at least 6, unless the stream is shorter), left in the stream. */
async function peek(source: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  while (size < 6) {
    const chunk = source.read() as Buffer | null;
    if (chunk) {
      parts.push(Buffer.from(chunk));
      size += chunk.length;
      continue;
    }
    if (source.errored) throw source.errored;
    if (source.readableEnded || source.destroyed) break;
    const more = await new Promise<boolean>((resolve, reject) => {
      const settle = (act: () => void) => (): void => {
        source.off('readable', onReadable).off('end', onEnd).off('error', onError).off('close', onEnd);
        act();
      };
      const onReadable = settle(() => resolve(true));
      const onEnd = settle(() => resolve(false));
      const onError = settle(() => reject(source.errored));
      source.on('readable', onReadable).on('end', onEnd).on('error', onError).on('close', onEnd);
    });
    if (!more) break;
  }
  const head = Buffer.concat(parts);
  if (head.length && !source.readableEnded) source.unshift(head);
  else if (head.length) throw invalid('unexpected end of the archive', { code: 'bad-archive' });
  return head;
}

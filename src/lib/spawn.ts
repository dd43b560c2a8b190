import { spawn } from 'node:child_process';
import { cancelled, deadlineExceeded, internal, notFound } from '../errors.ts';

export interface SpawnOptions {
  /** Milliseconds until the tool is killed; every call has one. */
  deadline: number;
  input?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  signal?: AbortSignal;
  /** Exit codes that are no failure; [0] unless told. */
  accept?: readonly number[];
  /** Bytes kept of each output; 4 MiB unless told. */
  limit?: number;
}

export interface SpawnResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a tool to its end. Fails with its last words; `notFound` when the tool is not there. */
export function runTool(command: string, args: readonly string[], options: SpawnOptions): Promise<SpawnResult> {
  const accept = options.accept ?? [0];
  const limit = options.limit ?? 4 << 20;
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(cancelled(`${command} was cancelled`));
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    let ended: Error | undefined;
    const end = (error: Error): void => {
      ended ??= error;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(
      () => end(deadlineExceeded(`${command} did not finish within ${options.deadline} ms`)),
      options.deadline,
    );
    const onAbort = (): void => end(cancelled(`${command} was cancelled`));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const outputs = [child.stdout, child.stderr].map((stream) => {
      const chunks: Buffer[] = [];
      let size = 0;
      stream!.on('data', (chunk: Buffer) => {
        if (size < limit) chunks.push(chunk);
        size += chunk.length;
      });
      return () => Buffer.concat(chunks).toString('utf8');
    });
    const settle = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.on('error', (error: NodeJS.ErrnoException) => {
      settle();
      reject(
        error.code === 'ENOENT'
          ? notFound(`${command}: not installed`, { cause: error })
          : internal(`${command}: ${error.message}`, { cause: error }),
      );
    });
    child.on('close', (code, signal) => {
      settle();
      if (ended) return reject(ended);
      const [stdout, stderr] = outputs.map((read) => read()) as [string, string];
      if (code !== null && accept.includes(code)) return resolve({ code, stdout, stderr });
      const words = (stderr || stdout).trim().slice(-2000);
      reject(internal(`${command} ${args[0] ?? ''}: ${words || `ended with ${code ?? signal}`}`));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
  });
}

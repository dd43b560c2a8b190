/** How the programs beside the daemon talk to it: plain HTTP on its unix socket. */
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { DaemonError, unavailable } from '../errors.ts';

const DEADLINE_MS = 15_000;

/** The socket from -H/--host, DOCKER_HOST or the usual path. Only unix sockets: these commands are for this host. */
export function socketOf(host: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const url = host ?? env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
  if (!url.startsWith('unix://')) throw unavailable(`${url}: only unix:// sockets can be used here`);
  return url.slice('unix://'.length);
}

export class DaemonClient {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  #open(method: string, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socket, method, path, agent: false, signal });
      call.setTimeout(DEADLINE_MS, () => call.destroy(unavailable('the daemon did not answer')));
      call.on('error', (error) => reject(unavailable(`cannot reach the daemon at ${this.socket}: ${error.message}`)));
      call.on('response', (answer) => {
        call.setTimeout(0);
        resolve(answer);
      });
      call.end();
    });
  }

  async #checked(method: string, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
    const answer = await this.#open(method, path, signal);
    if ((answer.statusCode ?? 500) < 400) return answer;
    let body = '';
    for await (const chunk of answer) body += String(chunk);
    const message = (() => {
      try {
        return (JSON.parse(body) as { message?: string }).message ?? body;
      } catch {
        return body;
      }
    })();
    throw new DaemonError(answer.statusCode === 404 ? 'notFound' : 'internal', message);
  }

  async get<T>(path: string): Promise<T> {
    return JSON.parse((await this.bytes(path)).toString()) as T;
  }

  async bytes(path: string): Promise<Buffer> {
    const answer = await this.#checked('GET', path);
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }

  /** JSON lines until the daemon or the signal ends them. */
  async *lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
    const answer = await this.#checked('GET', path, signal);
    answer.on('error', () => {});
    try {
      for await (const line of createInterface({ input: answer })) if (line.trim()) yield JSON.parse(line) as T;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      answer.destroy();
    }
  }
}

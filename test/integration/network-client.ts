/** The tests' side of network-host.ts: starts it, calls it, and looks at the traffic in its namespaces. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Sandbox } from '../../src/network/port.ts';
import { eventually } from '../support/eventually.ts';

/** Says who came, so that a test sees the source address too. */
export const WEB = `python3 -c '
import http.server, socket
class Server(http.server.ThreadingHTTPServer):
  address_family = socket.AF_INET6
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200); self.end_headers(); self.wfile.write(("from " + self.client_address[0]).encode())
  def log_message(self, *rest): pass
Server(("::", 80), Handler).serve_forever()'`;

/** The room in its own namespaces. */
export class Host {
  #child: ChildProcess;
  #waiting = new Map<number, { resolve(value: any): void; reject(error: unknown): void }>();
  #next = 1;
  readonly ready: Promise<void>;

  readonly directory = mkdtempSync(join(tmpdir(), 'reactord-net-'));

  constructor(options: object = {}) {
    const script = join(import.meta.dirname, 'network-host.ts');
    this.#child = spawn(
      'unshare',
      ['--net', '--mount', process.execPath, script, this.directory, JSON.stringify(options)],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    );
    this.ready = new Promise((resolve, reject) => {
      this.#child.once('exit', (code) => {
        reject(new Error(`the helper ended with ${code}`));
        for (const one of this.#waiting.values()) one.reject(new Error(`the helper ended with ${code}`));
      });
      this.#child.on('message', (message: any) => {
        if (message.ready) return resolve();
        const one = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.error) one?.reject(Object.assign(new Error(message.error.message), message.error));
        else one?.resolve(message.result);
      });
    });
  }

  call<T = any>(call: string, ...args: unknown[]): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, call, args });
    });
  }

  up = (name: string, more: object = {}): Promise<Sandbox> => this.call('up', name, more);

  sh = async (script: string, netns?: string): Promise<string> =>
    (await this.call<{ out: string }>('sh', script, netns)).out.trim();

  /** What a web page says; patient, because a test machine may be slow. */
  get = (url: string, netns?: string): Promise<string> =>
    this.sh(`curl -s -g --max-time 15 ${url} || echo unreachable`, netns);

  /** True when nobody answers there. */
  silent = async (url: string, netns?: string): Promise<boolean> =>
    (await this.sh(`curl -s -g --max-time 1 ${url} || echo unreachable`, netns)) === 'unreachable';

  async serve(sandbox: Pick<Sandbox, 'netnsPath'>): Promise<void> {
    await this.call('start', WEB, sandbox.netnsPath);
    await eventually(() => this.sh('curl -s --max-time 2 http://127.0.0.1/', sandbox.netnsPath), {
      what: 'the web server',
    });
  }

  /** Another host at 198.51.100.53, beyond a link of the daemon's own. Returns its namespace. */
  async neighbour(): Promise<string> {
    const netns = join(this.directory, 'other');
    await this.sh(`
      touch ${netns} && unshare --net=${netns} ip link set lo up
      ip link add up0 type veth peer name eth0 netns ${netns}
      echo 0 > /proc/sys/net/ipv6/conf/up0/accept_dad
      ip addr add 198.51.100.1/24 dev up0; ip -6 addr add 2001:db8:ff::1/64 dev up0 nodad; ip link set up0 up
      nsenter --net=${netns} sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip addr add 198.51.100.53/24 dev eth0; ip -6 addr add 2001:db8:ff::53/64 dev eth0 nodad; ip link set eth0 up'`);
    return netns;
  }

  async end(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.send({ id: 0, call: 'end', args: [] });
    await gone;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

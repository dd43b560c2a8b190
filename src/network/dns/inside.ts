/**
 * DNS servers whose sockets lie in a container's own namespace, where no gateway of ours can be reached (macvlan, ipvlan, isolated bridges). A
 * helper process opens them there and hands them over: Node's own threads must stay in the host's namespace.
 */
import { spawn } from 'node:child_process';
import type { Socket as DatagramSocket } from 'node:dgram';
import type { Server } from 'node:net';
import { internal } from '../../errors.ts';
import type { DnsServer } from './server.ts';

export const INSIDE_ADDRESS = '127.0.0.11';

const DEADLINE_MS = 10_000;

/** Both transports at one port, as the kernel gives it. */
const HELPER = `
const udp = require('node:dgram').createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
udp.bind({ address: '${INSIDE_ADDRESS}', port: 0, exclusive: true }, () => {
  const tcp = require('node:net').createServer();
  tcp.listen({ host: '${INSIDE_ADDRESS}', port: udp.address().port, exclusive: true }, () =>
    process.send('udp', udp, {}, () => process.send('tcp', tcp)));
});
process.on('disconnect', () => process.exit());
`;

interface Sockets {
  udp: DatagramSocket;
  tcp: Server;
}

function openInside(netnsPath: string): Promise<Sockets> {
  return new Promise((resolve, reject) => {
    const helper = spawn('nsenter', [`--net=${netnsPath}`, process.execPath, '-e', HELPER], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    });
    const got: Partial<Sockets> = {};
    let said = '';
    helper.stderr!.on('data', (chunk) => (said += String(chunk)));
    helper.on('message', (kind: 'udp' | 'tcp', handle) => {
      Object.assign(got, { [kind]: handle });
      // It has nothing of its own to end.
      if (got.udp && got.tcp) helper.kill('SIGKILL');
    });
    helper.on('error', reject);
    helper.on('exit', () => {
      if (got.udp && got.tcp) return resolve(got as Sockets);
      got.udp?.close();
      reject(internal(`names cannot be served in the container's namespace: ${said.trim().split('\n')[0] ?? ''}`));
    });
  });
}

export interface InsideServersDeps {
  newServer(containerId: string): DnsServer;
}

export class InsideServers {
  #servers = new Map<string, { server: DnsServer; port: number }>();
  #deps: InsideServersDeps;

  constructor(deps: InsideServersDeps) {
    this.#deps = deps;
  }

  /** Idempotent for a container. Returns the port. */
  async open(containerId: string, netnsPath: string): Promise<number> {
    const known = this.#servers.get(containerId);
    if (known) return known.port;
    const { udp, tcp } = await openInside(netnsPath);
    const server = this.#deps.newServer(containerId);
    server.serve(udp, tcp);
    const { port } = udp.address();
    this.#servers.set(containerId, { server, port });
    return port;
  }

  async close(containerId: string): Promise<void> {
    const known = this.#servers.get(containerId);
    this.#servers.delete(containerId);
    await known?.server.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((containerId) => this.close(containerId)));
  }
}

/** Serves the metrics at --metrics-addr, on a socket of its own; nothing is counted when no address is given. */
import { createServer, type Server } from 'node:http';
import type { Logger } from 'pino';
import { invalid } from '../errors.ts';
import type { Room } from '../reactor/room.ts';
import { createMetrics, type Metrics, type MetricsSource } from './metrics.ts';

export function createMetricsRoom(options: { address: string; source: MetricsSource; log: Logger }): Room {
  let server: Server | undefined;
  let metrics: Metrics | undefined;
  return {
    async boot() {
      if (!options.address) return;
      const match = /^(.*):(\d+)$/.exec(options.address);
      if (!match)
        throw invalid(`invalid value ${JSON.stringify(options.address)} for --metrics-addr: host:port is expected`);
      metrics = createMetrics(options.source);
      server = createServer((call, answer) => {
        if (call.method !== 'GET' || call.url !== '/metrics') {
          answer.writeHead(404).end();
          return;
        }
        metrics!.text().then(
          (text) => answer.writeHead(200, { 'content-type': metrics!.contentType }).end(text),
          (error: unknown) => {
            options.log.error({ err: error }, 'metrics could not be collected');
            answer.writeHead(500).end();
          },
        );
      });
      const listening = server;
      await new Promise<void>((resolve, reject) => {
        listening.once('error', reject);
        listening.listen(Number(match[2]), match[1] || '0.0.0.0', resolve);
      });
    },
    async stop() {
      metrics?.close();
      server?.closeAllConnections();
      server?.close();
    },
  };
}

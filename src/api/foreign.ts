/**
 * On a TCP socket that asks nobody who he is, a page in a browser of this machine must not become root (CVE-2025-9074 was
 * of this kind): browsers tell where a script came from, and a name that was rebound to 127.0.0.1 is still a foreign name.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);

export function isForeign({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  if (headers.origin !== undefined || (headers['sec-fetch-site'] ?? 'none') !== 'none') return true;
  const host = (headers.host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  // Docker's clients send an empty Host when they ask to take the connection over.
  return host !== '' && !isLoopback(host);
}

export function refuseForeign(outgoing: ServerResponse): void {
  outgoing.writeHead(403, { 'Content-Type': 'application/json', Connection: 'close' });
  outgoing.end(JSON.stringify({ message: 'requests of web pages, and to names of other hosts, are refused here' }));
}

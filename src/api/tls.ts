/** TLS of the TCP listeners: files from the configuration, client certificates when `tlsverify` asks for them. */
import { readFileSync } from 'node:fs';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import type { Config } from '../config/config.ts';
import { invalid } from '../errors.ts';

type TlsConfig = Pick<Config, 'tls' | 'tlsVerify' | 'tlsCaCert' | 'tlsCert' | 'tlsKey'>;

const HANDSHAKE_MS = 10_000;

/** Undefined without TLS. Throws invalid, naming the file that cannot be read. */
export function tlsOptions(config: TlsConfig): (SecureContextOptions & TlsOptions) | undefined {
  if (!config.tls && !config.tlsVerify) return undefined;
  return {
    cert: readPem(config.tlsCert, 'tlscert'),
    key: readPem(config.tlsKey, 'tlskey'),
    // Without tlsverify a client needs no certificate, as in dockerd.
    ...(config.tlsVerify ? { ca: readPem(config.tlsCaCert, 'tlscacert') } : {}),
    requestCert: config.tlsVerify,
    rejectUnauthorized: config.tlsVerify,
    minVersion: 'TLSv1.2',
    handshakeTimeout: HANDSHAKE_MS,
    ALPNProtocols: ['http/1.1'],
  };
}

function readPem(path: string, flag: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`could not read --${flag}: ${(error as Error).message}`, { cause: error });
  }
}

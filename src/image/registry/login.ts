/** POST /auth: whether a registry knows a user. */
import { invalid } from '../../errors.ts';
import type { RegistryAuth } from '../port.ts';
import { DEFAULT_DOMAIN } from '../reference.ts';
import type { Registries } from './registries.ts';

export interface LoginAnswer {
  Status: string;
  IdentityToken: string;
}

/** The registry of a server address, which may be the historical URL of Docker Hub's index. */
export function domainOf(serverAddress: string | undefined): string {
  const host = (serverAddress ?? '').replace(/^https?:\/\//, '').replace(/\/.*$/s, '');
  if (host === '' || host === 'index.docker.io' || host === 'registry-1.docker.io') return DEFAULT_DOMAIN;
  if (!URL.canParse(`https://${host}`)) throw invalid(`invalid server address ${JSON.stringify(serverAddress)}`);
  return host;
}

export async function login(registries: Registries, auth: RegistryAuth, signal: AbortSignal): Promise<LoginAnswer> {
  const IdentityToken = await registries.login(auth, domainOf(auth.serveraddress), signal);
  return { Status: 'Login Succeeded', IdentityToken };
}

/** What a step may need of the client while it runs, asked over the session: credentials, secrets, the SSH agent, streams. */
import { closeSync, openSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { asDaemonError } from '../../errors.ts';
import { Secrets } from '../../generated/proto/buildkit/secrets_pb.ts';
import { Auth } from '../../generated/proto/buildkit/session_pb.ts';
import { SSH } from '../../generated/proto/buildkit/ssh_pb.ts';
import { Upload } from '../../generated/proto/buildkit/upload_pb.ts';
import type { RegistryAuth } from '../../image/port.ts';
import { drained } from '../grpc/drain.ts';
import type { ClientServices } from '../types.ts';
import type { Session } from './sessions.ts';

const CALL_MS = 60_000;
const isNotFound = (error: unknown): boolean => asDaemonError(error).kind === 'notFound';

/** The registry's credentials as the client has them. docker.io is known to clients by its registry's own name. */
export async function credentials(
  session: Session,
  host: string,
  signal: AbortSignal,
): Promise<RegistryAuth | undefined> {
  const { credentials: ask } = Auth.method;
  if (!session.supports(Auth.typeName, ask.name)) return undefined;
  const name = host === 'docker.io' ? 'registry-1.docker.io' : host;
  const { username, secret } = await session.client.unary(ask, { host: name }, { deadline: CALL_MS, signal });
  if (!secret) return undefined;
  return username ? { username, password: secret } : { identitytoken: secret };
}

async function secret(session: Session, id: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
  const { getSecret } = Secrets.method;
  if (!session.supports(Secrets.typeName, getSecret.name)) return undefined;
  try {
    return (await session.client.unary(getSecret, { id }, { deadline: CALL_MS, signal })).data;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Carries one connection of the step to the client's agent and back. */
async function forward(session: Session, id: string, socket: Socket, signal: AbortSignal): Promise<void> {
  const call = session.client.open(SSH.method.forwardAgent, { metadata: { 'buildkit.ssh.id': id }, signal });
  const inward = (async () => {
    for await (const chunk of socket) await call.send({ data: chunk as Buffer });
    call.end();
  })();
  inward.catch(() => {});
  try {
    for await (const { data } of call.received) if (!socket.write(data)) await drained(socket);
  } finally {
    call.cancel();
    socket.destroy();
  }
}

/** A unix socket that leads to the client's agent; undefined when the client forwards none by this id. */
async function agent(
  session: Session,
  id: string,
  directory: string,
  signal: AbortSignal,
): Promise<{ path: string; close(): void } | undefined> {
  const { checkAgent } = SSH.method;
  if (!session.supports(SSH.typeName, checkAgent.name)) return undefined;
  try {
    await session.client.unary(checkAgent, { id }, { deadline: CALL_MS, signal });
  } catch (error) {
    // Clients say in words of their own that they forward no such agent.
    if (signal.aborted) throw error;
    return undefined;
  }
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {}).once('close', () => open.delete(socket));
    forward(session, id, socket, signal).catch(() => socket.destroy());
  });
  const path = join(directory, 'agent.sock');
  // An address of a socket has 107 bytes, and the build's directory is longer than that.
  const fd = openSync(directory, 'r');
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(`/proc/self/fd/${fd}/agent.sock`, resolve),
  ).catch((error: unknown) => {
    closeSync(fd);
    throw error;
  });
  return {
    path,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
      closeSync(fd);
    },
  };
}

export const clientServices = (session: () => Promise<Session>, signal: AbortSignal): ClientServices => ({
  secret: async (id) => secret(await session(), id, signal),
  agent: async (id, directory) => agent(await session(), id, directory, signal),
});

/** A stream that the client holds ready under a path, such as a context from its standard input. */
export function uploaded(session: Session, path: string, signal: AbortSignal): Readable {
  const call = session.client.open(Upload.method.pull, {
    metadata: { urlpath: path, urlhost: 'buildkit-session' },
    signal,
  });
  call.end();
  return Readable.from(
    (async function* () {
      for await (const { data } of call.received) yield Buffer.from(data);
    })(),
    { objectMode: false },
  );
}

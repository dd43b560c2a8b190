/** What went wrong at a registry, as a DaemonError in dockerd's words. */
import { DaemonError, internal, invalid, notFound, unauthorized, unavailable } from '../../errors.ts';
import { familiar, familiarName, type Reference } from '../reference.ts';
import { BrokenAnswer, ConnectionFailure, RegistryRefusal } from './failure.ts';

/** For pulls. Code `unreachable`: another endpoint of the registry may do. */
export function pullError(thrown: unknown, ref: Reference): DaemonError {
  if (thrown instanceof RegistryRefusal) return refusedPull(thrown, ref);
  return transferError(thrown);
}

function refusedPull(refusal: RegistryRefusal, ref: Reference): DaemonError {
  const details = { cause: refusal, code: 'refused' };
  const { message, code, status } = refusal;
  if (code === 'MANIFEST_UNKNOWN') return notFound(`manifest for ${familiar(ref)} not found: ${message}`, details);
  if (code === 'NAME_UNKNOWN') return notFound(`repository ${familiarName(ref)} not found: ${message}`, details);
  if (code === 'DENIED' || status === 403)
    return notFound(
      `pull access denied for ${familiarName(ref)}, repository does not exist or may require 'docker login': ${message}`,
      details,
    );
  if (status === 404) return notFound(`manifest for ${familiar(ref)} not found: ${message}`, details);
  return refused(refusal);
}

function refused(refusal: RegistryRefusal): DaemonError {
  const details = { cause: refusal, code: 'refused' };
  if (refusal.status === 401) return unauthorized(refusal.message, details);
  if (refusal.status === 429)
    return unavailable(`toomanyrequests: ${refusal.message.replace(/^toomanyrequests: /, '')}`, details);
  if (refusal.status === 400) return invalid(refusal.message, details);
  return internal(refusal.message, details);
}

/** For distribution inspect: the registry's own words. */
export function inspectError(thrown: unknown): DaemonError {
  if (!(thrown instanceof RegistryRefusal)) return transferError(thrown);
  const details = { cause: thrown, code: 'refused' };
  if (thrown.code === 'DENIED' || thrown.status === 403) return new DaemonError('forbidden', thrown.message, details);
  return thrown.status === 404 ? notFound(thrown.message, details) : refused(thrown);
}

export function pushError(thrown: unknown): DaemonError {
  if (!(thrown instanceof RegistryRefusal)) return transferError(thrown);
  if (thrown.code === 'DENIED' || thrown.status === 403)
    return new DaemonError('forbidden', thrown.message, { cause: thrown, code: 'refused' });
  return refused(thrown);
}

export function transferError(thrown: unknown): DaemonError {
  if (thrown instanceof DaemonError) return thrown;
  if (thrown instanceof RegistryRefusal) return refused(thrown);
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code =
    thrown instanceof ConnectionFailure ? 'unreachable' : thrown instanceof BrokenAnswer ? 'broken-answer' : undefined;
  return internal(message, { cause: thrown, ...(code ? { code } : {}) });
}

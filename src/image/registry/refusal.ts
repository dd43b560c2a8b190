/** Reads the error document of a registry (distribution specification, "Error Codes") into a RegistryRefusal. */
import { parseChallenges } from './challenge.ts';
import { retryAfter, RegistryRefusal } from './failure.ts';
import { type Answer, discard, readBody } from './transport.ts';

const ERROR_BYTES = 64 << 10;

interface ErrorEntry {
  code?: unknown;
  message?: unknown;
}

/** `code: message`, as Go's clients print them: "manifest unknown: manifest unknown". */
function described(document: unknown): { code: string; message: string } | undefined {
  if (typeof document !== 'object' || document === null) return undefined;
  const { errors, details } = document as { errors?: unknown; details?: unknown };
  const first = Array.isArray(errors) ? (errors[0] as ErrorEntry | undefined) : undefined;
  if (first && typeof first.code === 'string') {
    const words = first.code.toLowerCase().replaceAll('_', ' ');
    return { code: first.code, message: `${words}: ${typeof first.message === 'string' ? first.message : words}` };
  }
  return typeof details === 'string' ? { code: '', message: details } : undefined;
}

/** The registry knows who we are, and that we may not (RFC 6750, 3.1): Docker Hub's answer for what does not exist. */
const lacksScope = ({ headers }: Answer): boolean =>
  parseChallenges(headers['www-authenticate']).some(({ parameters }) => parameters.error === 'insufficient_scope');

/** Consumes the body. */
export async function refusalOf(answer: Answer, now: number): Promise<RegistryRefusal> {
  const again = retryAfter(answer.headers['retry-after'], now);
  if (answer.status === 401 && lacksScope(answer)) {
    discard(answer.body);
    return new RegistryRefusal(403, 'DENIED', 'denied: requested access to the resource is denied', again);
  }
  const fallback = `received unexpected HTTP status: ${answer.status} from ${answer.url.origin}${answer.url.pathname}`;
  if (!/json/.test(String(answer.headers['content-type'] ?? ''))) {
    discard(answer.body);
    return new RegistryRefusal(answer.status, '', fallback, again);
  }
  try {
    const said = described(JSON.parse((await readBody(answer, ERROR_BYTES)).toString()));
    return new RegistryRefusal(answer.status, said?.code ?? '', said?.message ?? fallback, again);
  } catch {
    return new RegistryRefusal(answer.status, '', fallback, again);
  }
}

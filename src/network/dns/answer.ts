/**
 * What a query is answered with: from our names, by others, or not at all. Pure. Names of containers live in the
 * networks the asker is in; everything else is asked of the asker's servers, unless all its networks are internal.
 */
import type { Answer, DecodedPacket, Packet } from 'dns-packet';
import { formatValue, parseAddress } from '../address.ts';
import type { NameOwner, Names } from './names.ts';

export const TTL_SECONDS = 600;

export interface Asker {
  containerId: string;
  networks: readonly { id: string; name: string }[];
  /** Names only this container knows: its links. Alias → any name of the other. */
  links: ReadonlyMap<string, string>;
  upstreams: readonly string[];
  /** False when every network of it is internal. */
  outside: boolean;
}

export type Verdict = { forward: readonly string[] } | { reply: Packet };

/** Flags of a response: RD copied, RA set, authoritative like dockerd's. */
const RECURSION_DESIRED = 1 << 8;
const RECURSION_AVAILABLE = 1 << 7;
const RCODE = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;

export function replyTo(query: DecodedPacket, rcode: keyof typeof RCODE, answers: Answer[] = []): Packet {
  const flags = ((query.flags ?? 0) & RECURSION_DESIRED) | RECURSION_AVAILABLE | RCODE[rcode];
  return { type: 'response', id: query.id, flags, questions: query.questions, answers };
}

function ownersOf(name: string, asker: Asker, names: Names): NameOwner[] {
  const linked = asker.links.get(name.toLowerCase());
  for (const network of asker.networks) {
    const owners = names.find(network.id, name);
    if (owners.length) return owners;
    // "web.mynet" is web in mynet.
    const suffix = `.${network.name.toLowerCase()}`;
    const short = name.toLowerCase().endsWith(suffix) ? name.slice(0, -suffix.length) : '';
    const qualified = short ? names.find(network.id, short) : [];
    if (qualified.length) return qualified;
    const target = linked ? names.find(network.id, linked) : [];
    if (target.length) return target;
  }
  return [];
}

/** The address a reverse name stands for: 2.0.17.172.in-addr.arpa, or nibbles in ip6.arpa. */
export function addressOfReverse(name: string): string | undefined {
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa\.?$/i.exec(name);
  if (v4) return v4.slice(1, 5).reverse().join('.');
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa\.?$/i.exec(name);
  if (!v6) return undefined;
  return formatValue(6, BigInt(`0x${v6[1]!.split('.').reverse().join('')}`));
}

/** `turn` counts queries, so that several containers of one name take turns at being the first. */
export function decide(query: DecodedPacket, asker: Asker, names: Names, turn: number): Verdict {
  const question = query.questions?.[0];
  if (!question) return { reply: replyTo(query, 'SERVFAIL') };
  const elsewhere: Verdict = asker.outside ? { forward: asker.upstreams } : { reply: replyTo(query, 'SERVFAIL') };
  if (question.type === 'PTR') {
    const address = addressOfReverse(question.name);
    for (const network of address && parseAddress(address) ? asker.networks : []) {
      const owner = names.owned(network.id, address!);
      if (owner)
        return {
          reply: replyTo(query, 'NOERROR', [
            { type: 'PTR', name: question.name, ttl: TTL_SECONDS, data: `${owner.names[0]}.${network.name}` },
          ]),
        };
    }
    return elsewhere;
  }
  const owners = ownersOf(question.name.replace(/\.$/, ''), asker, names);
  if (owners.length === 0) return elsewhere;
  const first = turn % owners.length;
  const answers = [...owners.slice(first), ...owners.slice(0, first)].flatMap((owner): Answer[] => {
    const data = question.type === 'A' ? owner.ipv4 : question.type === 'AAAA' ? owner.ipv6 : '';
    return data ? [{ type: question.type as 'A' | 'AAAA', name: question.name, ttl: TTL_SECONDS, data }] : [];
  });
  return { reply: replyTo(query, 'NOERROR', answers) };
}

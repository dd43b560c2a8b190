/** The part of dns-packet we use; the package ships no types. */
declare module 'dns-packet' {
  export interface Question {
    name: string;
    type: string;
    class?: string;
  }
  export interface Answer {
    name: string;
    type: 'A' | 'AAAA' | 'PTR';
    ttl: number;
    data: string;
  }
  export interface Packet {
    type: 'query' | 'response';
    id?: number;
    /** The header's second word without QR. */
    flags?: number;
    questions?: Question[];
    answers?: Answer[];
  }
  export type DecodedPacket = Packet;
  /** Throws on what is no DNS message. */
  export function decode(message: Buffer): DecodedPacket;
  export function encode(packet: Packet): Buffer;
}

/** What is measured: one number a round and peer. Set-up inside a case is not timed. */
import type { Peer } from './peers.ts';

export interface Case {
  name: string;
  unit: string;
  rate?: boolean;
  goal?: string;
  rounds?: number;
  measure(peer: Peer): Promise<number>;
}

/** Texts of the kernel as numbers: flat keyed files of cgroups, /proc/net/dev, /proc/stat. All pure. */
import type { BlkioEntry, InterfaceStats } from './document.ts';

/** No more than what Go's 64 bits hold; `max` is no limit. */
const LARGEST = 2 ** 63;

/** A whole file that is one number; undefined for `max`, and for what is no number. */
export function singleNumber(text: string): number | undefined {
  const digits = text.trim();
  return /^\d+$/.test(digits) ? Math.min(Number(digits), LARGEST) : undefined;
}

/** `key value` in each line. */
export function flatKeyed(text: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const [key, value] = line.split(' ');
    const number = value === undefined ? undefined : singleNumber(value);
    if (key && number !== undefined) found[key] = number;
  }
  return found;
}

/** v1's blkio files: `8:0 Read 4096`; the last line, a total over all devices, has none. */
export function blkioEntries(text: string): BlkioEntry[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\d+):(\d+) (?:([A-Za-z]+) )?(\d+)$/.exec(line.trim());
    if (!match) return [];
    return [{ major: Number(match[1]), minor: Number(match[2]), op: match[3] ?? '', value: Number(match[4]) }];
  });
}

/** v2's io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`. */
export function ioStat(text: string): { bytes: BlkioEntry[]; operations: BlkioEntry[] } {
  const bytes: BlkioEntry[] = [];
  const operations: BlkioEntry[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+):(\d+) (.*)$/.exec(line.trim());
    if (!match) continue;
    const device = { major: Number(match[1]), minor: Number(match[2]) };
    const values = flatKeyed(match[3]!.replaceAll(' ', '\n').replaceAll('=', ' '));
    bytes.push(
      { ...device, op: 'read', value: values.rbytes ?? 0 },
      { ...device, op: 'write', value: values.wbytes ?? 0 },
    );
    operations.push(
      { ...device, op: 'read', value: values.rios ?? 0 },
      { ...device, op: 'write', value: values.wios ?? 0 },
    );
  }
  return { bytes, operations };
}

/** /proc/<pid>/net/dev by interface, the loopback left out; undefined when there is no other. */
export function interfaces(text: string): Record<string, InterfaceStats> | undefined {
  const found: Record<string, InterfaceStats> = {};
  for (const line of text.split('\n')) {
    const match = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (!match || match[1] === 'lo') continue;
    const fields = match[2]!.trim().split(/\s+/).map(Number);
    if (fields.length < 12) continue;
    const [rxBytes, rxPackets, rxErrors, rxDropped, , , , , txBytes, txPackets, txErrors, txDropped] =
      fields as number[];
    found[match[1]!] = {
      rx_bytes: rxBytes!,
      rx_packets: rxPackets!,
      rx_errors: rxErrors!,
      rx_dropped: rxDropped!,
      tx_bytes: txBytes!,
      tx_packets: txPackets!,
      tx_errors: txErrors!,
      tx_dropped: txDropped!,
    };
  }
  return Object.keys(found).length ? found : undefined;
}

/** A clock tick as the kernel counts in /proc: USER_HZ is 100 everywhere. */
export const TICK_NS = 10_000_000;

/** /proc/stat: nanoseconds that all cpus together have run or idled, and how many there are. */
export function systemCpu(text: string): { usage: number; cpus: number } {
  let usage = 0;
  let cpus = 0;
  for (const line of text.split('\n')) {
    if (line.startsWith('cpu ')) {
      const ticks = line.trim().split(/\s+/).slice(1, 8).map(Number);
      usage = ticks.reduce((sum, count) => sum + count, 0) * TICK_NS;
    } else if (/^cpu\d/.test(line)) cpus++;
  }
  return { usage, cpus };
}

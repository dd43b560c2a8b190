/** Times of log entries as text, RFC 3339 with nanoseconds in UTC; what repeats from one entry to the next is kept. */

let seconds = '';
let secondsNano = 0n;

/** "2026-11-30T23:04:05.123456789Z" → nanoseconds since the epoch; other zones are understood, garbage is 0. */
export function parseNano(text: string): bigint {
  const head = text.slice(0, 19);
  if (!text.endsWith('Z')) {
    const ms = Date.parse(text);
    return Number.isNaN(ms) ? 0n : BigInt(ms) * 1_000_000n;
  }
  if (head !== seconds) {
    const ms = Date.parse(`${head}Z`);
    secondsNano = Number.isNaN(ms) ? 0n : BigInt(ms) * 1_000_000n;
    seconds = head;
  }
  const fraction = text.length > 20 ? text.slice(20, -1).slice(0, 9).padEnd(9, '0') : '0';
  return secondsNano + BigInt(/^\d+$/.test(fraction) ? fraction : 0);
}

let printedSecond = -1n;
let printed = '';

/** Nine digits, as the `timestamps` of the API have them. */
export function formatNano(nano: bigint): string {
  const second = nano / 1_000_000_000n;
  if (second !== printedSecond) {
    printed = `${new Date(Number(second) * 1000).toISOString().slice(0, 19)}.`;
    printedSecond = second;
  }
  return `${printed}${(nano % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}

/** As Go prints it (RFC3339Nano): without zeros at the end. */
export function formatGo(nano: bigint): string {
  const text = formatNano(nano);
  return text.endsWith('0Z') ? text.replace(/\.?0+Z$/, 'Z') : text;
}

/** The last lines of a container's output as text for a terminal. Pure. */

/** Frames of the multiplexed stream: [stream, 0, 0, 0, u32 BE length] and the payload. What does not look like frames is a terminal's raw output. */
export function outputText(bytes: Buffer): string {
  const payloads: Buffer[] = [];
  let at = 0;
  while (at + 8 <= bytes.length) {
    if (bytes[at]! > 3 || bytes.readUIntBE(at + 1, 3) !== 0) return bytes.toString();
    const length = bytes.readUInt32BE(at + 4);
    payloads.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return at === 0 ? bytes.toString() : Buffer.concat(payloads).toString();
}

/** Lines that cannot move the cursor or ring a bell: control characters and escape sequences are left out. */
export function outputLines(bytes: Buffer): string[] {
  const lines = outputText(bytes)
    .replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g, '')
    .replace(/\t/g, '    ')
    .replace(/[\x00-\x09\x0b-\x1f\x7f]/g, '')
    .split('\n');
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
}

/** systemd's native protocol of the journal: one datagram of fields a record. systemd.io/JOURNAL_NATIVE_PROTOCOL. */
export const JOURNAL_SOCKET = '/run/systemd/journal/socket';

/** Field names are upper case letters, digits and underscores, and do not begin with one. */
export const fieldName = (name: string): string =>
  name
    .toUpperCase()
    .replace(/[^A-Z0-9_]/g, '_')
    .replace(/^_+/, '');

/** "NAME=value\n", or with a length when the value has lines of its own. */
export function journalField(name: string, value: Buffer): Buffer {
  if (!value.includes(10)) return Buffer.concat([Buffer.from(`${name}=`), value, Buffer.of(10)]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`), length, value, Buffer.of(10)]);
}

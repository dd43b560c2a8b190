/** As much of msgpack as a log message needs. Pure; the formats are those of msgpack's own specification. */

/** fluentd's time with nanoseconds: extension type 0. */
export class EventTime {
  readonly nano: bigint;

  constructor(nano: bigint) {
    this.nano = nano;
  }
}

export type Packable = string | number | EventTime | Packable[] | { [name: string]: Packable };

const u8 = (tag: number, value: number): Buffer => Buffer.of(tag, value);
const u16 = (tag: number, value: number): Buffer => Buffer.of(tag, value >> 8, value & 0xff);
const u32 = (tag: number, value: number): Buffer => {
  const bytes = Buffer.of(tag, 0, 0, 0, 0);
  bytes.writeUInt32BE(value, 1);
  return bytes;
};

function stringHead(length: number): Buffer {
  if (length < 32) return Buffer.of(0xa0 | length);
  if (length < 0x100) return u8(0xd9, length);
  return length < 0x10000 ? u16(0xda, length) : u32(0xdb, length);
}

/** Head of an array (0x90, 0xdc) or a map (0x80, 0xde). */
function listHead(small: number, large: number, length: number): Buffer {
  if (length < 16) return Buffer.of(small | length);
  return length < 0x10000 ? u16(large, length) : u32(large + 1, length);
}

function integer(value: number): Buffer {
  if (value >= 0 && value < 0x80) return Buffer.of(value);
  if (value >= 0 && value <= 0xffffffff) return u32(0xce, value);
  const bytes = Buffer.alloc(9, 0xd3);
  bytes.writeBigInt64BE(BigInt(value), 1);
  return bytes;
}

function eventTime({ nano }: EventTime): Buffer {
  const bytes = Buffer.of(0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  bytes.writeUInt32BE(Number(nano / 1_000_000_000n), 2);
  bytes.writeUInt32BE(Number(nano % 1_000_000_000n), 6);
  return bytes;
}

export function encodeMsgpack(value: Packable): Buffer {
  if (typeof value === 'number') return integer(value);
  if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    return Buffer.concat([stringHead(bytes.length), bytes]);
  }
  if (value instanceof EventTime) return eventTime(value);
  if (Array.isArray(value)) return Buffer.concat([listHead(0x90, 0xdc, value.length), ...value.map(encodeMsgpack)]);
  const entries = Object.entries(value);
  const parts = entries.flatMap(([name, item]) => [encodeMsgpack(name), encodeMsgpack(item)]);
  return Buffer.concat([listHead(0x80, 0xde, entries.length), ...parts]);
}

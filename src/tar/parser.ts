/**
 * A push parser for tar streams: bytes go in by `write`, entries come out at once through the sink, nothing is buffered
 * but headers. Synchronous, so that a worker can extract while it hashes. Truncated, oversized and contradictory input
 * throws `invalid` (code `bad-archive`); the limits of header.ts bound its memory.
 */
import { invalid } from '../errors.ts';
import {
  BLOCK,
  decodeBlock,
  decodePax,
  METADATA_LIMIT,
  type NameEncoding,
  padding,
  parsePaxTime,
  type RawHeader,
  readNumber,
  type TarHeader,
  typeOfFlag,
} from './header.ts';

export interface TarSink {
  entry(header: TarHeader): void;
  /** Bytes of the file at `position`; holes of sparse files are skipped. */
  data(bytes: Buffer, position: number): void;
  /** The entry is complete. */
  done(): void;
}

type Pax = Map<string, Buffer>;
type Part = { offset: number; size: number };

const ZEROS = Buffer.alloc(BLOCK);

const bad = (why: string): Error => invalid(`archive/tar: ${why}`, { code: 'bad-archive' });

export class TarParser {
  #sink: TarSink;
  #encoding: NameEncoding;
  #block = Buffer.alloc(BLOCK);
  #filled = 0;
  /** What the bytes of the current body are for. */
  #mode: 'block' | 'body' | 'meta' | 'sparse-old' | 'sparse-map' | 'skip' | 'end' = 'block';
  #remaining = 0;
  #pad = 0;
  #meta: Buffer[] = [];
  #metaFlag = '';
  #globalPax: Pax = new Map();
  #pax: Pax = new Map();
  #sparseRecords: [string, string][] = [];
  #longName: string | undefined;
  #longLink: string | undefined;
  #zeroBlocks = 0;
  #raw: RawHeader | undefined;
  #parts: Part[] = [];
  #part = 0;
  #inPart = 0;
  #realSize = 0;

  constructor(sink: TarSink, options: { encoding?: NameEncoding } = {}) {
    this.#sink = sink;
    this.#encoding = options.encoding ?? 'utf8';
  }

  /** True after the archive's end mark; what follows is ignored. */
  get ended(): boolean {
    return this.#mode === 'end';
  }

  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#mode !== 'end') {
      if (this.#mode === 'skip') at += this.#skip(chunk.length - at);
      else if (this.#mode === 'body' || this.#mode === 'meta') at += this.#body(chunk, at);
      else {
        const n = Math.min(BLOCK - this.#filled, chunk.length - at);
        chunk.copy(this.#block, this.#filled, at, at + n);
        this.#filled += n;
        at += n;
        if (this.#filled === BLOCK) {
          this.#filled = 0;
          this.#wholeBlock(this.#block);
        }
      }
    }
  }

  /**
   * The stream ended. An archive cut at an entry's boundary is accepted, as everywhere, and so is one without the padding of
   * its last file: the docker CLI sends such contexts when the Dockerfile lies outside of them.
   */
  end(): void {
    if (this.#mode === 'end') return;
    const isWhole = this.#mode === 'block' || this.#mode === 'skip';
    if (!isWhole || this.#filled || this.#pax.size || this.#longName !== undefined) {
      throw bad('unexpected end of the archive');
    }
  }

  #skip(available: number): number {
    const n = Math.min(this.#pad, available);
    this.#pad -= n;
    if (this.#pad === 0) this.#mode = 'block';
    return n;
  }

  #body(chunk: Buffer, at: number): number {
    const n = Math.min(this.#remaining, chunk.length - at);
    const bytes = chunk.subarray(at, at + n);
    this.#remaining -= n;
    if (this.#mode === 'meta') this.#meta.push(Buffer.from(bytes));
    else this.#deliver(bytes);
    if (this.#remaining === 0) this.#bodyEnded();
    return n;
  }

  #bodyEnded(): void {
    const wasMeta = this.#mode === 'meta';
    this.#mode = this.#pad ? 'skip' : 'block';
    if (wasMeta) this.#metadata();
    else this.#sink.done();
  }

  /** Places body bytes: one run for plain files, part by part for sparse ones. */
  #deliver(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      const part = this.#parts[this.#part];
      if (!part) throw bad('more data than the sparse map tells');
      const n = Math.min(part.size - this.#inPart, bytes.length - at);
      if (n > 0) this.#sink.data(bytes.subarray(at, at + n), part.offset + this.#inPart);
      at += n;
      this.#inPart += n;
      if (this.#inPart === part.size) {
        this.#part++;
        this.#inPart = 0;
      }
    }
  }

  #wholeBlock(block: Buffer): void {
    if (this.#mode === 'sparse-old') return this.#oldSparseBlock(block);
    if (this.#mode === 'sparse-map') return this.#sparseMapBlock(block);
    if (block.equals(ZEROS)) {
      if (++this.#zeroBlocks === 2) this.#mode = 'end';
      return;
    }
    if (this.#zeroBlocks) throw bad('invalid tar header');
    const raw = decodeBlock(block, this.#encoding);
    if (raw.size < 0) throw bad('invalid tar header');
    if ('xgLK'.includes(raw.flag)) {
      if (raw.size > METADATA_LIMIT) throw bad('header field too long');
      this.#metaFlag = raw.flag;
      this.#meta = [];
      this.#begin('meta', raw.size);
      return;
    }
    this.#start(raw, block);
  }

  #begin(mode: 'meta' | 'body', size: number): void {
    this.#remaining = size;
    this.#pad = padding(size);
    this.#mode = mode;
    if (size === 0) this.#bodyEnded();
  }

  #metadata(): void {
    const bytes = Buffer.concat(this.#meta);
    this.#meta = [];
    const text = (): string => bytes.toString(this.#encoding).replace(/\0.*$/s, '');
    if (this.#metaFlag === 'L') this.#longName = text();
    else if (this.#metaFlag === 'K') this.#longLink = text();
    else {
      const into = this.#metaFlag === 'g' ? this.#globalPax : this.#pax;
      for (const [key, value] of decodePax(bytes)) {
        if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes')
          this.#sparseRecords.push([key, String(value)]);
        else into.set(key, value);
      }
      if (into.size > 10_000) throw bad('too many PAX records');
    }
  }

  /** Joins block, GNU long names and PAX records into one header, and turns to the body. */
  #start(raw: RawHeader, block: Buffer): void {
    const pax: Pax = this.#globalPax.size ? new Map([...this.#globalPax, ...this.#pax]) : this.#pax;
    const sparseRecords = this.#sparseRecords;
    if (this.#longName !== undefined) raw.name = this.#longName;
    if (this.#longLink !== undefined) raw.linkname = this.#longLink;
    applyPax(raw, pax, this.#encoding);
    this.#pax = new Map();
    this.#sparseRecords = [];
    this.#longName = this.#longLink = undefined;
    if (typeOfFlag(raw.flag) !== 'file') raw.size = 0;
    this.#raw = raw;
    this.#remaining = raw.size;
    this.#pad = padding(raw.size);
    this.#realSize = raw.size;
    this.#parts = [{ offset: 0, size: raw.size }];
    const realSize = pax.get('GNU.sparse.realsize') ?? pax.get('GNU.sparse.size');
    if (raw.flag === 'S') {
      this.#realSize = readNumber(block, 483, 12);
      this.#parts = [];
      this.#readOldParts(block, 386, 4);
      if (block[482]) this.#mode = 'sparse-old';
      else this.#emit(true);
    } else if (realSize && String(pax.get('GNU.sparse.major')) === '1') {
      this.#realSize = Number(realSize);
      this.#meta = [];
      this.#mode = 'sparse-map';
    } else if (realSize) {
      this.#realSize = Number(realSize);
      const map = pax.get('GNU.sparse.map');
      this.#parts = partsOf(map ? String(map).split(',') : sparseRecords.map(([, value]) => value));
      this.#emit(true);
    } else this.#emit(false);
  }

  #readOldParts(block: Buffer, at: number, count: number): void {
    for (let i = 0; i < count && block[at + i * 24]; i++) {
      this.#parts.push({ offset: readNumber(block, at + i * 24, 12), size: readNumber(block, at + i * 24 + 12, 12) });
    }
    if (this.#parts.length > 100_000) throw bad('sparse map too long');
  }

  #oldSparseBlock(block: Buffer): void {
    this.#readOldParts(block, 0, 21);
    if (!block[504]) this.#emit(true);
  }

  /** PAX sparse format 1.0: the map stands in decimal lines at the head of the data, padded to whole blocks. */
  #sparseMapBlock(block: Buffer): void {
    this.#remaining -= BLOCK;
    this.#meta.push(Buffer.from(block));
    if (this.#remaining < 0 || this.#meta.length * BLOCK > METADATA_LIMIT) throw bad('invalid sparse map');
    const lines = Buffer.concat(this.#meta).toString('latin1').split('\n');
    const count = Number(lines[0]);
    if (lines.length < 2 || lines.length - 1 < 1 + 2 * count) return;
    this.#meta = [];
    this.#parts = partsOf(lines.slice(1, 1 + 2 * count));
    this.#emit(true);
  }

  #emit(sparse: boolean): void {
    const raw = this.#raw!;
    const { flag, ...fields } = raw;
    let type = typeOfFlag(flag);
    if (!type) throw bad(`unhandled tar header type ${flag.charCodeAt(0)}`);
    if (type === 'file' && raw.name.endsWith('/')) type = 'directory';
    if (sparse) checkParts(this.#parts, this.#realSize, this.#remaining);
    this.#part = this.#inPart = 0;
    this.#mode = 'body';
    this.#sink.entry({ ...fields, type, size: this.#realSize, ...(sparse ? { sparse: this.#parts } : {}) });
    if (this.#remaining === 0) this.#bodyEnded();
  }
}

function partsOf(numbers: string[]): Part[] {
  const parts: Part[] = [];
  for (let i = 0; i + 1 < numbers.length; i += 2)
    parts.push({ offset: Number(numbers[i]), size: Number(numbers[i + 1]) });
  return parts;
}

function checkParts(parts: Part[], realSize: number, dataSize: number): void {
  let end = 0;
  let sum = 0;
  for (const { offset, size } of parts) {
    if (!(offset >= end) || !(size >= 0) || !(offset + size <= realSize)) throw bad('invalid sparse map');
    end = offset + size;
    sum += size;
  }
  if (sum !== dataSize || !Number.isSafeInteger(realSize)) throw bad('invalid sparse map');
}

const decimal = (value: Buffer): number => {
  const number = Number(value.toString('latin1'));
  if (!Number.isSafeInteger(number)) throw bad('invalid PAX number');
  return number;
};

function applyPax(raw: RawHeader, pax: Pax, encoding: NameEncoding): void {
  for (const [key, value] of pax) {
    if (key === 'path') raw.name = value.toString(encoding);
    else if (key === 'linkpath') raw.linkname = value.toString(encoding);
    else if (key === 'size') raw.size = decimal(value);
    else if (key === 'uid') raw.uid = decimal(value);
    else if (key === 'gid') raw.gid = decimal(value);
    else if (key === 'uname') raw.uname = value.toString(encoding);
    else if (key === 'gname') raw.gname = value.toString(encoding);
    else if (key === 'mtime') raw.mtimeNs = parsePaxTime(value.toString('latin1'));
    else if (key === 'GNU.sparse.name') raw.name = value.toString(encoding);
    else if (key.startsWith('SCHILY.xattr.')) raw.xattrs.set(key.slice(13), value);
  }
  if (raw.size < 0 || raw.uid < 0 || raw.gid < 0) throw bad('invalid PAX number');
  if (raw.name.includes('\0') || raw.linkname.includes('\0')) throw bad('NUL in a name');
}

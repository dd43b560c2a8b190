/** The few files that every build reads before its first step come into memory: no directory is made for them. */
import { unavailable } from '../../errors.ts';
import type { Stat } from '../../generated/proto/fsutil/wire_pb.ts';
import { components, resolvePath } from '../files/resolve.ts';
import { isTooLarge, tooLarge } from '../held.ts';
import { isRegularGoMode, kindOfGoMode } from './file-mode.ts';
import type { Taker } from './file-sync.ts';

const plain = (path: string): string => components(path).join('/');

export class Texts implements Taker {
  #count = 0;
  /** Pieces of files by path; names of one file share them. */
  #files = new Map<string, { bytes: Uint8Array[] }>();
  #links = new Map<string, string>();
  #coming = new Map<number, { path: string; bytes: Uint8Array[] }>();
  /** Of all together: a client may send more than it said, or was asked for. */
  #size = 0;

  stat({ path: name, mode, size, linkname }: Stat): number | undefined {
    const id = this.#count++;
    const path = plain(name);
    if (kindOfGoMode(mode) === 'symlink') this.#links.set(path, linkname);
    if (!isRegularGoMode(mode)) return undefined;
    const file = (linkname && this.#files.get(plain(linkname))) || { bytes: [] };
    this.#files.set(path, file);
    if (linkname || size === 0n) return undefined;
    this.#coming.set(id, { path, bytes: file.bytes });
    return id;
  }

  data(id: number, bytes: Uint8Array): void {
    const file = this.#coming.get(id);
    if (!file) throw unavailable(`the client sent a file nobody asked for (${id})`);
    this.#size += bytes.length;
    if (isTooLarge(this.#size)) throw tooLarge(file.path);
    if (bytes.length) file.bytes.push(bytes);
    else this.#coming.delete(id);
  }

  get isIdle(): boolean {
    return this.#coming.size === 0;
  }

  finish(): void {}

  close(): void {}

  /** Undefined where there is no file. Links lead where they would if the tree were `/`. */
  get(path: string): string | undefined {
    const isLink = (here: string): boolean => this.#links.has(here);
    const file = this.#files.get(resolvePath(path, { isLink, target: (link) => this.#links.get(link)! }));
    return file && Buffer.concat(file.bytes).toString('utf8');
  }
}

/** Options of the local driver: type, o and device, as mount(8) takes them. */
import { invalid } from '../errors.ts';
import { MS } from '../host/ffi.ts';
import { own } from '../lib/own.ts';

export interface LocalMount {
  type: string;
  device: string;
  flags: number;
  /** Options for the file system itself. */
  data: string;
  /** The words that `flags` is of, for mount(8). */
  words: readonly string[];
}

const KNOWN = new Set(['type', 'o', 'device', 'size']);
const REQUIRES: Readonly<Record<string, readonly string[]>> = {
  device: ['type'],
  type: ['device'],
  o: ['device', 'type'],
};

/** Flags of mount(2) by the option's name: what it sets, and what it takes away. */
const FLAGS: Readonly<Record<string, { set?: number; clear?: number }>> = {
  defaults: {},
  ro: { set: MS.RDONLY },
  rw: { clear: MS.RDONLY },
  nosuid: { set: MS.NOSUID },
  suid: { clear: MS.NOSUID },
  nodev: { set: MS.NODEV },
  dev: { clear: MS.NODEV },
  noexec: { set: MS.NOEXEC },
  exec: { clear: MS.NOEXEC },
  noatime: { set: MS.NOATIME },
  atime: { clear: MS.NOATIME },
  bind: { set: MS.BIND },
  rbind: { set: MS.BIND | MS.REC },
  sync: { set: 1 << 4 },
  async: { clear: 1 << 4 },
  dirsync: { set: 1 << 7 },
  nodiratime: { set: 1 << 11 },
  diratime: { clear: 1 << 11 },
  relatime: { set: 1 << 21 },
  norelatime: { clear: 1 << 21 },
  strictatime: { set: 1 << 24 },
  nostrictatime: { clear: 1 << 24 },
};

/** File systems on other machines: mounting may wait for them, so a tool with a deadline does it. */
const REMOTE = new Set(['nfs', 'nfs4', 'cifs', 'smb3', 'ceph', '9p', 'glusterfs']);

export const isRemote = (type: string): boolean => REMOTE.has(type);

export function validateLocalOptions(options: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(options)) if (!KNOWN.has(name)) throw invalid(`invalid option: "${name}"`);
  if ('size' in options) throw invalid('quota size requested but no quota support');
  for (const [name, required] of Object.entries(REQUIRES)) {
    if (!(name in options)) continue;
    const missing = required.find((other) => !(other in options));
    if (missing) throw invalid(`missing required option: "${missing}"`);
  }
  const { type, device } = options;
  if (type === 'cifs' && device && /^(?:[a-z]+:)?\/\/[^/]*:\d+(?:\/|$)/i.test(device)) {
    throw invalid("port not allowed in CIFS device URL, include 'port' in 'o='");
  }
}

/** Undefined when the options ask for no mount: the volume is a plain directory. */
export function localMount(options: Readonly<Record<string, string>>): LocalMount | undefined {
  const { type = '', device = '', o = '' } = options;
  if (!type && !device) return undefined;
  let flags = 0;
  const data: string[] = [];
  const words: string[] = [];
  for (const option of o.split(',').filter(Boolean)) {
    const flag = own(FLAGS, option);
    if (!flag) data.push(option);
    else {
      flags = (flags | (flag.set ?? 0)) & ~(flag.clear ?? 0);
      words.push(option);
    }
  }
  return { type, device, flags, data: data.join(','), words };
}

/** Never shows a password in an error. */
export const withoutPassword = (text: string): string => text.replace(/(password=)[^,\s]*/g, '$1********');

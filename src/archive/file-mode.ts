/** Go's os.FileMode, which Docker's API speaks, from the kernel's st_mode (inode(7)). */
const DIRECTORY = 2 ** 31;
const SYMLINK = 1 << 27;
const DEVICE = 1 << 26;
const NAMED_PIPE = 1 << 25;
const SOCKET = 1 << 24;
const SETUID = 1 << 23;
const SETGID = 1 << 22;
const CHARACTER_DEVICE = 1 << 21;
const STICKY = 1 << 20;

const TYPES: Readonly<Record<number, number>> = {
  0o140000: SOCKET,
  0o120000: SYMLINK,
  0o060000: DEVICE,
  0o040000: DIRECTORY,
  0o020000: DEVICE + CHARACTER_DEVICE,
  0o010000: NAMED_PIPE,
};

export function goFileMode(stMode: number): number {
  const type = TYPES[stMode & 0o170000] ?? 0;
  const special = (stMode & 0o4000 ? SETUID : 0) + (stMode & 0o2000 ? SETGID : 0) + (stMode & 0o1000 ? STICKY : 0);
  return type + special + (stMode & 0o777);
}

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  constants,
  mkdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as ffi from '../../src/host/ffi.ts';
import { spreadDirectories } from '../../src/host/spread.ts';

describe('system calls through libc', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'host-ffi-'));
  });
  afterEach(() => {
    ffi.umountIfMounted(join(dir, 'mnt'));
    rmSync(dir, { recursive: true, force: true });
  });

  test('a tmpfs is mounted and detached, and detaching nothing says so', () => {
    const target = join(dir, 'mnt');
    mkdirSync(target);
    ffi.mount('tmpfs', target, 'tmpfs', ffi.MS.NOSUID | ffi.MS.NODEV, 'size=1m,mode=700');
    expect(ffi.fsMagic(target)).toBe(ffi.FS_MAGIC.TMPFS);
    expect(ffi.umountIfMounted(target)).toBe(true);
    expect(ffi.umountIfMounted(target)).toBe(false);
  });

  test('ext4 is told to spread directories; what knows no such hint is left as it is', () => {
    const [made, other] = [join(dir, 'made'), join(dir, 'mnt')];
    for (const path of [made, other]) mkdirSync(path);
    spreadDirectories(made);
    // Where the test has another file system below it, there is nothing to be seen.
    const isExt4 = ffi.fsMagic(dir) === 0xef53;
    const flags = isExt4 ? execFileSync('lsattr', ['-d', made], { encoding: 'utf8' }) : 'T';
    expect(flags).toMatch(/^[-A-Za-z]*T/);
    ffi.mount('tmpfs', other, 'tmpfs');
    expect(() => spreadDirectories(other)).not.toThrow();
  });

  test('nodes, FIFOs and extended attributes are made and read back', () => {
    const [node, fifo, file] = [join(dir, 'null'), join(dir, 'fifo'), join(dir, 'file')];
    ffi.mknod(node, ffi.S_IFCHR | 0o600, ffi.makedev(1, 3));
    const { rdev } = lstatSync(node);
    expect([ffi.major(rdev), ffi.minor(rdev)]).toEqual([1, 3]);
    ffi.mkfifo(fifo);
    const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    expect(ffi.setPipeSize(fd, 1 << 18)).toBe(1 << 18);
    closeSync(fd);
    writeFileSync(file, '');
    ffi.lsetxattr(file, 'trusted.note', Buffer.from('hello'));
    expect([...ffi.readXattrs(file)]).toEqual([['trusted.note', Buffer.from('hello')]]);
    expect(ffi.lgetxattr(file, 'trusted.other')).toBeUndefined();
  });

  test('openat2 takes absolute symlinks and dot-dot as inside the root', () => {
    mkdirSync(join(dir, 'etc'));
    writeFileSync(join(dir, 'etc/passwd'), 'inside');
    symlinkSync('/../../etc/passwd', join(dir, 'link'));
    const root = openSync(dir, ffi.O_PATH | constants.O_DIRECTORY);
    try {
      const fd = ffi.openat2(root, 'link', { flags: constants.O_RDONLY, resolve: ffi.RESOLVE.IN_ROOT });
      expect(readFileSync(fd, 'utf8')).toBe('inside');
      closeSync(fd);
      expect(() => ffi.openat2(root, 'link', { flags: 0, resolve: ffi.RESOLVE.NO_SYMLINKS })).toThrow(
        expect.objectContaining({ code: 'ELOOP', syscall: 'openat2' }),
      );
    } finally {
      closeSync(root);
    }
  });

  test('device numbers beyond eight bits survive makedev, major and minor', () => {
    const dev = ffi.makedev(0x12345, 0xabcdef);
    expect([ffi.major(dev), ffi.minor(dev)]).toEqual([0x12345, 0xabcdef]);
  });
});

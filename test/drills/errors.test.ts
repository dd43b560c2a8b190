/** The kernel says no: EIO of the disk, ENOMEM, at the first call, the second, the third … of a whole life of a container. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { expectAgreement, expectNothingLeft, removeAll } from './support/kill.ts';
import { all, part, tell } from './support/table.ts';
import { type Tampering, tampered } from './support/tamper.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon?.stop());

const FILES = ['openat', 'mkdir', 'rename', 'unlink', 'rmdir', 'symlink', 'fsync', 'ftruncate', 'fchmod', 'chmod'];
/** Memory that Node itself asks for (mmap, brk) is left out: without it V8 ends the process, whatever we do. */
const KERNEL = ['clone', 'clone3', 'vfork', 'openat', 'mkdir', 'mount', 'umount2', 'mknod', 'mknodat'];

interface Set {
  what: string;
  error: Tampering['error'];
  calls: readonly string[];
  /** Of these files of the daemon only, in its data root. */
  files?: readonly string[];
  upTo: number;
}
const SETS: Set[] = [
  {
    what: 'reading and writing the database',
    error: 'EIO',
    calls: ['pwrite64', 'fdatasync', 'fsync', 'pread64'],
    files: ['reactord.db', 'reactord.db-wal'],
    upTo: 10,
  },
  { what: 'files and directories', error: 'EIO', calls: FILES, upTo: 16 },
  { what: 'processes, mounts and files', error: 'ENOMEM', calls: KERNEL, upTo: 16 },
];
const cases = SETS.flatMap((set) =>
  part(
    Array.from({ length: set.upTo }, (_, i) => i + 1),
    2,
  ).map((nth) => ({ ...set, nth })),
);

const seen = { injected: 0, refused: 0, causes: new Set<string>() };

/** An answer within a minute: nobody is left hanging. */
async function call(method: string, path: string, body?: unknown): Promise<number> {
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`${method} ${path} was not answered`)), 60_000).unref(),
  );
  const { status, text } = await Promise.race([daemon.api(method, path, body), late]);
  if (status >= 400) {
    const { message } = JSON.parse(text) as { message: string };
    expect(message, `${method} ${path}`).toMatch(/\w/);
    seen.refused++;
    for (const [cause] of message.matchAll(/\b(EIO|ENOMEM|disk I\/O error|Cannot allocate memory)\b/g))
      seen.causes.add(cause);
  }
  return status;
}

/** Through a life, whatever is answered. Returns the answers. */
async function live(name: string): Promise<number[]> {
  const config = { Image: daemon.image, Cmd: ['sleep', '1000'], Volumes: { '/data': {} } };
  return [
    await call('POST', `/containers/create?name=${name}`, config),
    await call('POST', `/containers/${name}/start`),
    await call('POST', `/containers/${name}/exec`, { Cmd: ['true'] }),
    await call('POST', `/containers/${name}/stop?t=0`),
    await call('DELETE', `/containers/${name}?force=1&v=1`),
  ];
}

describe('a system call that fails', () => {
  it.each(cases)(
    '$error at number $nth of $what: an error with words, no crash, and all works again',
    async ({ calls, error, nth, files }) => {
      const pid = daemon.pid();
      const paths = files?.map((file) => join(daemon.dataRoot, file));
      const record = join(daemon.directory, 'strace');
      seen.injected += await tampered(pid, { calls, error, nth, paths }, record, async () => {
        await live('unlucky');
      });
      expect([daemon.pid(), existsSync(`/proc/${pid}/fd/0`)]).toEqual([pid, true]);
      await expectAgreement(daemon);
      await removeAll(daemon);
      expect(await live('lucky')).toEqual([201, 204, 201, 204, 204]);
    },
  );

  it('leaves nothing behind', async () => {
    expect(seen.injected).toBeGreaterThan(0);
    expect(seen.causes.size).toBeGreaterThan(0);
    // What could not be removed goes with the next start.
    await daemon.restart();
    await expectNothingLeft(daemon);
    tell({
      drill: 10,
      what: 'EIO and ENOMEM at the n-th call of a container’s life',
      cases: cases.length,
      outcome:
        'an error with words, no hang, no crash, a whole life works afterwards; what could not be removed goes with the next start, nothing is left',
      figures: `${seen.injected} calls made to fail, ${seen.refused} commands refused, with ${[...seen.causes].sort().join(', ')}${all ? '' : ' (a part)'}`,
      where: ['test/drills/errors.test.ts'],
    });
  });
});

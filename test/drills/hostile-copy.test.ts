/** cp against a container that fights it: its directories turn into links in a loop, its tools and libraries are its own. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeHeader, END_OF_ARCHIVE, padding, tarHeader } from '../../src/tar/header.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectNothingLeft } from './support/kill.ts';
import { all, tell } from './support/table.ts';

const SECRET = 'what the host keeps to itself';

let daemon: TestDaemon;
let outside: string;
beforeAll(async () => {
  daemon = await startDaemon();
  outside = join(daemon.directory, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'file'), SECRET);
  daemon.ok('run', '-d', '--name', 'foe', daemon.image, 'sh', '-c', FIGHT(outside));
});
afterAll(() => daemon?.stop());

/** Tools and libraries that leave a mark when anything of them is run, then a directory that is a link every other moment. */
const FIGHT = (target: string): string => `
for tool in xz unxz gzip bzip2 tar zstd; do for dir in /bin /usr/bin /usr/local/bin /sbin; do
  mkdir -p $dir; rm -f $dir/$tool; printf '#!/bin/sh\\necho $0 >>/marks\\n' >$dir/$tool; chmod 755 $dir/$tool
done; done
echo 'passwd: evil files' >/etc/nsswitch.conf
for dir in /lib /lib64 /usr/lib /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu; do
  mkdir -p $dir; for name in evil files compat dns; do echo evil >$dir/libnss_$name.so.2; done
done
mkdir -p /swap; touch /ready
while :; do
  mkdir /swap/dir; echo inside >/swap/dir/file; mv -T /swap/dir /swap/old
  ln -s ${target} /swap/dir; rm -f /swap/dir; rm -rf /swap/old
  mkdir /swap/dir; rm -rf /swap/dir; ln -s ../../../../../../..${target} /swap/dir; rm -f /swap/dir
done`;

function archive(content: string): Buffer {
  const body = Buffer.from(content);
  const header = tarHeader({ name: 'file', size: body.length, mode: 0o644, uname: 'mallory', gname: 'evil' });
  return Buffer.concat([encodeHeader(header), body, Buffer.alloc(padding(body.length)), END_OF_ARCHIVE]);
}

/** Sends or fetches an archive; whatever is answered. Returns the body. */
async function copy(method: 'PUT' | 'GET', path: string, body?: Buffer): Promise<string> {
  const call = request({
    socketPath: daemon.socket,
    method,
    path: `/containers/foe/archive?path=${path}`,
    agent: false,
  });
  call.end(body);
  const [answer] = (await once(call, 'response')) as [import('node:http').IncomingMessage];
  const chunks: Buffer[] = [];
  // One that is cut short is an answer, too: what it read has changed meanwhile.
  await new Promise<void>((resolve) => answer.on('data', (chunk: Buffer) => chunks.push(chunk)).on('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

const untouched = (): unknown => {
  const { mtimeMs, size, uid, mode } = statSync(join(outside, 'file'));
  return [readdirSync(outside), readFileSync(join(outside, 'file'), 'utf8'), mtimeMs, size, uid, mode];
};

const PLAIN = archive('intruder');
const BODIES = (): Buffer[] => [PLAIN, gzipSync(PLAIN), execFileSync('xz', ['-c'], { input: PLAIN })];

describe('cp with a container that fights', () => {
  const rounds = all ? 1500 : 60;
  const seen = { copies: 0, refused: 0, intact: 0 };

  it('reads and writes nothing outside, while directories turn into links', async () => {
    await eventually(() => daemon.docker('exec', 'foe', 'test', '-e', '/ready').code === 0);
    const before = untouched();
    const bodies = BODIES();
    const client = async (id: number): Promise<void> => {
      for (let round = id; round < rounds; round += 4) {
        for (const path of ['/swap/dir', '/swap/dir/file', '/swap']) {
          const text = await copy('GET', path);
          expect(text).not.toContain(SECRET);
          seen.copies++;
          if (text.includes('inside')) seen.intact++;
        }
        const answer = await copy('PUT', '/swap/dir', bodies[round % bodies.length]);
        seen.copies++;
        if (answer.includes('message')) seen.refused++;
      }
    };
    await Promise.all([0, 1, 2, 3].map(client));
    expect(untouched()).toEqual(before);
    expect(seen.intact).toBeGreaterThan(0);
    expect(seen.refused).toBeGreaterThan(0);
  }, 600_000);

  it('runs none of its tools, opens none of its libraries, enters no root', async () => {
    const record = join(daemon.directory, 'strace');
    const calls = 'execve,execveat,open,openat,openat2,chroot,pivot_root,setns,unshare';
    const strace = spawn('strace', ['-f', '-o', record, '-e', `trace=${calls}`, '-p', String(daemon.pid())], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(strace, 'exit');
    let words = '';
    strace.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()));
    await eventually(() => words.includes('attached'));
    for (const body of BODIES()) expect(await copy('PUT', '/', body)).not.toContain('message');
    expect(await copy('GET', '/file')).toContain('intruder');
    for (const path of ['/swap/dir', '/swap']) expect(await copy('GET', path)).not.toContain(SECRET);
    strace.kill('SIGINT');
    await ended;
    const lines = readFileSync(record, 'utf8').split('\n');
    const ran = lines.flatMap((line) => /execve(?:at)?\("([^"]+)".* = 0$/.exec(line)?.[1] ?? []);
    // The one for xz, as the host has it.
    const xz = execFileSync('sh', ['-c', 'command -v xz'], { encoding: 'utf8' }).trim();
    expect([...new Set(ran)]).toEqual([xz]);
    expect(lines.filter((line) => /libnss|nsswitch/.test(line) && !line.includes(' ENOENT '))).toEqual([]);
    expect(lines.filter((line) => /\b(chroot|pivot_root|setns|unshare)\(/.test(line))).toEqual([]);
    expect(daemon.docker('exec', 'foe', 'cat', '/marks').stderr).toContain('No such file');
  }, 120_000);

  it('leaves nothing behind', async () => {
    await expectNothingLeft(daemon);
    tell({
      drill: 12,
      what: 'cp against a container that swaps directories for links, with its own xz, tar and nss libraries',
      cases: seen.copies,
      outcome:
        'nothing outside is read or written; none of its tools is run, none of its libraries opened, its root not entered',
      figures: `${seen.copies} copies, ${seen.intact} of them found the directory, ${seen.refused} were refused`,
      where: [
        'test/drills/hostile-copy.test.ts',
        'test/integration/archive-hostile.test.ts',
        'test/integration/archive-paths.test.ts',
      ],
    });
  });
});

/**
 * `npm run test:vm`: the Debian package in a real systemd with cgroup v2. Boots a Debian guest in QEMU (KVM where the machine's processor has it, else emulated),
 * gives it the package, a newer one and test/vm/checks, and prints what they say. Exits 1 when a check failed or the guest did not come to its end. Kept out of
 * `npm test`: it takes minutes. Names of checks (`npm run test:vm -- 10 40`) run only these.
 */
import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Guest, guestDisk } from './guest-disk.ts';

const repository = join(import.meta.dirname, '../..');
const GUEST_MS = 20 * 60_000;

const run = (command: string, ...args: string[]): void => {
  execFileSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: repository });
};

function installTools(): void {
  const tools = { debootstrap: 'debootstrap', 'qemu-system-x86_64': 'qemu-system-x86', 'mkfs.ext4': 'e2fsprogs' };
  const places = ['/usr/bin', '/usr/sbin', '/bin', '/sbin'];
  const missing = Object.entries(tools).filter(([tool]) => !places.some((place) => existsSync(join(place, tool))));
  if (!missing.length) return;
  run('apt-get', 'update', '-qq');
  run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...missing.map(([, name]) => name));
}

/** A tar, which the guest reads as its second disk: two packages and the checks. */
function payload(directory: string, only: readonly string[]): string {
  const content = join(directory, 'payload');
  mkdirSync(join(content, 'checks'), { recursive: true });
  const make = (name: string, ...more: string[]): void => {
    // Compressing takes longer than all checks on the unpacked files.
    run('bin/node', 'packaging/deb.mjs', '--compression', 'none', '--out', directory, ...more);
    const made = readdirSync(directory).find((file) => file.endsWith('.deb'))!;
    cpSync(join(directory, made), join(content, name));
    rmSync(join(directory, made));
  };
  make('reactord.deb');
  make('newer.deb', '--version', '999.0.0');
  const chosen = (file: string): boolean => !only.length || only.some((name) => file.startsWith(name));
  for (const file of readdirSync(join(import.meta.dirname, 'checks')))
    if (chosen(file)) cpSync(join(import.meta.dirname, 'checks', file), join(content, 'checks', file));
  for (const file of ['guest.sh', 'lib.sh']) cpSync(join(import.meta.dirname, file), join(content, file));
  const tar = join(directory, 'payload.tar');
  run('tar', '-C', content, '-cf', tar, '.');
  return tar;
}

/** KVM needs virtualization of the processor's own: without it some hosts offer /dev/kvm too, and interpret a guest's kernel far slower than QEMU does. */
function acceleration(): string[] {
  const own = ['kvm_intel', 'kvm_amd'].some((module) => existsSync(`/sys/module/${module}`));
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    if (own) return ['-accel', 'kvm', '-cpu', 'host'];
  } catch {
    // Not there, or not ours to open.
  }
  return ['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem'];
}

/** Boots, shows the guest's lines, and resolves with its verdicts when it has powered off. */
function boot(guest: Guest, tar: string): Promise<string[]> {
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...acceleration(),
      ...['-m', '2048', '-smp', '2', '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none'],
      ...['-kernel', guest.kernel, '-initrd', guest.initrd],
      ...['-append', 'root=/dev/vda rw console=ttyS0 quiet loglevel=3 systemd.show_status=0 mitigations=off audit=0'],
      ...['-drive', `file=${guest.disk},if=virtio,format=raw,snapshot=on,cache=unsafe`],
      ...['-drive', `file=${tar},if=virtio,format=raw,readonly=on`],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    console.log(line);
    const verdict = /(PASS|FAIL|DONE)\b.*/.exec(line)?.[0];
    if (verdict) lines.push(verdict);
  });
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), GUEST_MS);
    child.on('exit', () => {
      clearTimeout(timer);
      resolve(lines);
    });
  });
}

installTools();
const directory = mkdtempSync(join(tmpdir(), 'reactord-vm-'));
let lines: string[];
try {
  const tar = payload(directory, process.argv.slice(2));
  const deb = join(directory, 'payload/reactord.deb');
  const guest = guestDisk(execFileSync('dpkg-deb', ['-f', deb, 'Depends'], { encoding: 'utf8' }).trim());
  lines = await boot(guest, tar);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const failed = lines.filter((line) => line.startsWith('FAIL'));
const passed = lines.filter((line) => line.startsWith('PASS'));
const whole = lines.some((line) => line.startsWith('DONE'));
console.log(`${passed.length} passed, ${failed.length} failed${whole ? '' : '; the guest did not come to its end'}`);
process.exit(failed.length || !passed.length || !whole ? 1 : 0);

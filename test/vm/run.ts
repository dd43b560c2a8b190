/**
 * `npm run test:vm`: the Debian package in a real systemd with cgroup v2. Builds a Debian guest from Debian packages, installs the package into it, boots
 * it in QEMU (KVM where there is one), runs test/vm/guest.sh inside and prints its lines. Exits 1 when a check failed. Kept out of `npm test`: it takes minutes.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const repository = join(import.meta.dirname, '../..');
const BOOT_MS = 15 * 60_000;
const GUEST_PACKAGES = [
  ...['systemd-sysv', 'dbus', 'linux-image-amd64', 'udev', 'kmod', 'ca-certificates', 'procps', 'util-linux'],
  ...['runc', 'containerd', 'iproute2', 'nftables', 'busybox-static', 'docker.io', 'curl'],
];

const run = (command: string, ...args: string[]): void => {
  execFileSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: repository });
};

function needed(): void {
  const tools = { debootstrap: 'debootstrap', 'qemu-system-x86_64': 'qemu-system-x86', 'mkfs.ext4': 'e2fsprogs' };
  const missing = Object.entries(tools).filter(([tool]) => {
    try {
      execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length)
    run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...missing.map(([, name]) => name));
}

function mirror(): string {
  const lists = ['/etc/apt/sources.list', ...globSync('/etc/apt/sources.list.d/*')].filter((path) => existsSync(path));
  const text = lists.map((path) => readFileSync(path, 'utf8')).join('\n');
  return /(?:^deb (?:\[.*\] )?|^URIs: )(https?:\/\/\S+)/m.exec(text)?.[1] ?? 'http://deb.debian.org/debian';
}

function makeGuest(directory: string, deb: string): { disk: string; kernel: string; initrd: string } {
  const root = join(directory, 'root');
  run('debootstrap', '--variant=minbase', `--include=${GUEST_PACKAGES.join(',')}`, 'bookworm', root, mirror());
  cpSync(deb, join(root, 'reactord.deb'));
  cpSync(join(repository, 'test/vm/guest.sh'), join(root, 'guest.sh'));
  // The daemon of the docker.io package is what ours replaces; only its CLI is wanted.
  run(
    'chroot',
    root,
    'sh',
    '-c',
    'rm -f /usr/sbin/dockerd /lib/systemd/system/docker.* /etc/systemd/system/*/docker.* && systemctl mask containerd.service',
  );
  writeFileSync(
    join(root, 'etc/systemd/system/checks.service'),
    [
      ...['[Unit]', 'Description=checks of the package', 'After=multi-user.target', '', '[Service]', 'Type=oneshot'],
      ...[
        'ExecStart=/bin/sh /guest.sh',
        'StandardOutput=tty',
        'StandardError=tty',
        'TTYPath=/dev/ttyS0',
        'ExecStopPost=/bin/systemctl poweroff --force',
      ],
      ...['', '[Install]', 'WantedBy=graphical.target multi-user.target', ''],
    ].join('\n'),
  );
  run('chroot', root, 'systemctl', 'enable', 'checks.service');
  writeFileSync(join(root, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n');
  const disk = join(directory, 'disk.img');
  run('mkfs.ext4', '-q', '-d', root, disk, '4G');
  const boot = (name: string): string => {
    const copy = join(directory, name);
    cpSync(globSync(join(root, `boot/${name}-*`))[0]!, copy);
    return copy;
  };
  const parts = { disk, kernel: boot('vmlinuz'), initrd: boot('initrd.img') };
  rmSync(root, { recursive: true, force: true });
  return parts;
}

function acceleration(): string[] {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return ['-accel', 'kvm', '-accel', 'tcg'];
  } catch {
    return ['-accel', 'tcg'];
  }
}

/** Boots, shows the guest's lines, and resolves with its verdicts. */
function boot(parts: { disk: string; kernel: string; initrd: string }): Promise<string[]> {
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...acceleration(),
      ...['-m', '2048', '-smp', '2', '-nographic', '-no-reboot', '-nic', 'none'],
      ...['-kernel', parts.kernel, '-initrd', parts.initrd],
      ...['-append', 'root=/dev/vda rw console=ttyS0 systemd.unified_cgroup_hierarchy=1 quiet'],
      ...['-drive', `file=${parts.disk},if=virtio,format=raw,cache=unsafe`],
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
    const timer = setTimeout(() => child.kill('SIGKILL'), BOOT_MS);
    child.on('exit', () => {
      clearTimeout(timer);
      resolve(lines);
    });
  });
}

needed();
run('npm', 'run', '-s', 'package');
const deb = globSync(join(repository, 'dist/*.deb'))[0]!;
const directory = mkdtempSync(join(tmpdir(), 'reactord-vm-'));
let lines: string[];
try {
  lines = await boot(makeGuest(directory, deb));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const failed = lines.filter((line) => line.startsWith('FAIL'));
const passed = lines.filter((line) => line.startsWith('PASS'));
const whole = lines.some((line) => line.startsWith('DONE'));
console.log(`${passed.length} passed, ${failed.length} failed${whole ? '' : '; the guest did not come to its end'}`);
process.exit(failed.length || !passed.length || !whole ? 1 : 0);

/** The guest of `npm run test:vm`: a Debian with systemd and cgroup v2, built from Debian packages and kept for the next run. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface Guest {
  /** Raw ext4, to be booted as a snapshot. */
  disk: string;
  kernel: string;
  initrd: string;
}

const RELEASE = 'bookworm';
/** Beside what the package depends on: what a Debian machine has, docker.io for its CLI, and socat, which speaks SCTP; no Node. */
const PACKAGES = [
  ...['systemd-sysv', 'dbus', 'udev', 'kmod', 'linux-image-cloud-amd64', 'apparmor'],
  ...['busybox-static', 'curl', 'docker.io', 'socat'],
];

/** Only the CLI of docker.io is wanted: neither its daemon nor the group it makes. */
const PREPARE = `
cp /usr/bin/docker /usr/local/bin/docker
dpkg --purge docker.io
groupdel docker
rm -rf /var/lib/docker /etc/docker
systemctl mask containerd.service serial-getty@ttyS0.service getty@tty1.service apt-daily.timer apt-daily-upgrade.timer
# It loads profiles that nobody here needs, which takes long where the guest is emulated.
systemctl mask apparmor.service
systemctl enable checks.service
apt-get clean
rm -rf /var/lib/apt/lists/*
`;

/** The second disk is a tar with the packages and the checks; after a reboot among the checks they go on. */
const CHECKS = `[Unit]
Description=checks of the package
After=multi-user.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStartPre=/bin/sh -c 'mkdir -p /var/lib/checks && tar -C /var/lib/checks -xf /dev/vdb'
ExecStart=/bin/sh /var/lib/checks/guest.sh
ExecStopPost=/bin/sh -c '[ -e /run/rebooting ] || systemctl poweroff --force'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=multi-user.target
`;

const run = (command: string, ...args: string[]): void => {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
};

function mirror(): string {
  const lists = ['/etc/apt/sources.list', ...globSync('/etc/apt/sources.list.d/*')].filter((path) => existsSync(path));
  const text = lists.map((path) => readFileSync(path, 'utf8')).join('\n');
  return /(?:^deb (?:\[.*\] )?|^URIs: )(https?:\/\/\S+debian)\b/m.exec(text)?.[1] ?? 'http://deb.debian.org/debian';
}

/**
 * Builds the guest unless one of the same make lies in the cache. `depends` is the package's own field: what is missing there is missing in the guest. Needs root,
 * debootstrap and mkfs.ext4.
 */
export function guestDisk(depends: string): Guest {
  const needed = depends.split(',').map((alternatives) => /[a-z0-9.+-]+/.exec(alternatives)![0]);
  const packages = [...PACKAGES, ...needed];
  const make = createHash('sha256')
    .update(JSON.stringify([RELEASE, packages, PREPARE, CHECKS]))
    .digest('hex');
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'reactord-vm');
  const directory = join(cache, make.slice(0, 16));
  if (!existsSync(directory)) {
    console.log('building the guest from Debian packages');
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, 'work-'));
    try {
      build(work, packages);
      renameSync(work, directory);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  return {
    disk: join(directory, 'disk.img'),
    kernel: join(directory, 'vmlinuz'),
    initrd: join(directory, 'initrd.img'),
  };
}

function build(directory: string, packages: readonly string[]): void {
  const root = join(directory, 'root');
  run('debootstrap', '--variant=minbase', `--include=${packages.join(',')}`, RELEASE, root, mirror());
  writeFileSync(join(root, 'etc/systemd/system/checks.service'), CHECKS);
  writeFileSync(join(root, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n');
  writeFileSync(join(root, 'etc/hostname'), 'guest\n');
  run('chroot', root, 'sh', '-ec', PREPARE);
  for (const name of ['vmlinuz', 'initrd.img'])
    cpSync(globSync(join(root, `boot/${name}-*`))[0]!, join(directory, name));
  // debootstrap leaves /proc mounted where it may.
  execFileSync('sh', ['-c', `grep -o ' ${root}/[^ ]*' /proc/self/mounts | sort -r | xargs -r umount`]);
  run('mkfs.ext4', '-q', '-d', root, join(directory, 'disk.img'), '6G');
  rmSync(root, { recursive: true, force: true });
}

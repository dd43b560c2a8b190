/** AppArmor's `docker-default`, the profile of containers that name none: loaded when the daemon starts, as nobody else does it. */
import { existsSync, readFileSync } from 'node:fs';
import { runTool } from '../lib/spawn.ts';

export const DEFAULT_PROFILE = 'docker-default';

const SECURITY_FS = '/sys/kernel/security/apparmor';
const PARSERS = ['/sbin/apparmor_parser', '/usr/sbin/apparmor_parser'];
const PARSER_MS = 20_000;

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** As dockerd: the kernel has it on, shows it, and the tool that loads profiles is there. Without one of these containers run without a profile. */
export const hasApparmor = (): boolean =>
  read('/sys/module/apparmor/parameters/enabled').trim() === 'Y' &&
  existsSync(SECURITY_FS) &&
  PARSERS.some((path) => existsSync(path));

/** The rules that Docker's users know: everything but mounts, and of /proc and /sys nothing that is the host's. `has` tells which parts of a policy are installed. */
export function defaultProfile(has: { tunables: boolean; base: boolean }): string {
  return `${has.tunables ? '#include <tunables/global>' : '@{PROC}=/proc/'}

profile ${DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {
${has.base ? '  #include <abstractions/base>\n' : ''}
  network,
  capability,
  file,
  umount,

  # Whoever stops containers is on the host, under no profile or under the runtime's.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer=${DEFAULT_PROFILE},
  ptrace (trace,read,tracedby,readby) peer=${DEFAULT_PROFILE},

  deny mount,

  # Of /proc only what belongs to processes, and of its sys only kernel/shm*.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  # Of /sys only fs/cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`;
}

/** Loads it unless it is there. Throws what the parser says. */
export async function loadDefaultProfile(): Promise<void> {
  if (new RegExp(`^${DEFAULT_PROFILE} \\(`, 'm').test(read(`${SECURITY_FS}/profiles`))) return;
  const parser = PARSERS.find((path) => existsSync(path));
  if (!parser) return;
  const input = defaultProfile({
    tunables: existsSync('/etc/apparmor.d/tunables/global'),
    base: existsSync('/etc/apparmor.d/abstractions/base'),
  });
  // Replaced, not added: another daemon may have been quicker. Nothing is kept in the parser's cache.
  await runTool(parser, ['--replace', '--skip-cache'], { deadline: PARSER_MS, input });
}

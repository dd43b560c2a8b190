/**
 * The default seccomp profile as data: what a process without privileges may ask of the kernel. Everything that is not
 * named fails with EPERM. Entries hold under conditions of architecture, capability and kernel; seccomp.ts picks them.
 */
import type { SeccompProfile } from './seccomp-profile.ts';

const words = (text: string): string[] => text.split(/\s+/).filter(Boolean);

const FILES = words(`
  access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
  fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
  fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
  ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
  inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek
  lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2
  pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
  removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64
  statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
  utimensat utimensat_time64 utimes vmsplice write writev`);

const EVENTS = words(`
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
  io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
  ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4`);

const MEMORY = words(`
  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
  mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages`);

const PROCESSES = words(`
  capget capset execve execveat exit exit_group fork getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
  getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
  getsid gettid getuid getuid32 ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64 setfsgid
  setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid
  setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 tgkill tkill ugetrlimit vfork
  wait4 waitid waitpid`);

const SCHEDULING = words(`
  sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
  sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
  sched_yield`);

const SIGNALS = words(`
  restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn`);

const THREADS = words(`
  futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake getcpu get_robust_list get_thread_area rseq
  set_robust_list set_thread_area set_tid_address`);

const TIME = words(`
  adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
  timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
  timerfd_gettime64 timerfd_settime timerfd_settime64 times`);

const MESSAGES = words(`
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
  msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`);

/** `socket` itself is below: it depends on the family. */
const SOCKETS = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
  send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`);

const SYSTEM = words(`
  getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self riscv_hwprobe seccomp sysinfo uname
  uretprobe`);

const ALLOW = 'SCMP_ACT_ALLOW';
const AF_ALG = 38;
const AF_VSOCK = 40;

/** Execution domains that change nothing dangerous: Linux, BSD, and both with their uname shown as 2.6; and "ask". */
const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: making a namespace is for CAP_SYS_ADMIN alone. */
const CLONE_NAMESPACES = 0x7e020000;

const S390 = ['s390', 's390x'];

const needs = (capability: string, names: string) => ({
  names: words(names),
  action: ALLOW,
  includes: { caps: [capability] },
});
const on = (arches: string[], names: string) => ({ names: words(names), action: ALLOW, includes: { arches } });
const argument = (index: number, value: number, op: string, valueTwo?: number) => [
  { index, value, ...(valueTwo === undefined ? {} : { valueTwo }), op },
];

export const DEFAULT_SECCOMP: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  archMap: [
    { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
    { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
    { architecture: 'SCMP_ARCH_MIPS64', subArchitectures: ['SCMP_ARCH_MIPS', 'SCMP_ARCH_MIPS64N32'] },
    { architecture: 'SCMP_ARCH_MIPS64N32', subArchitectures: ['SCMP_ARCH_MIPS', 'SCMP_ARCH_MIPS64'] },
    { architecture: 'SCMP_ARCH_MIPSEL64', subArchitectures: ['SCMP_ARCH_MIPSEL', 'SCMP_ARCH_MIPSEL64N32'] },
    { architecture: 'SCMP_ARCH_MIPSEL64N32', subArchitectures: ['SCMP_ARCH_MIPSEL', 'SCMP_ARCH_MIPSEL64'] },
    { architecture: 'SCMP_ARCH_S390X', subArchitectures: ['SCMP_ARCH_S390'] },
    { architecture: 'SCMP_ARCH_RISCV64' },
    { architecture: 'SCMP_ARCH_LOONGARCH64' },
  ],
  syscalls: [
    ...[FILES, EVENTS, MEMORY, PROCESSES, SCHEDULING, SIGNALS, THREADS, TIME, MESSAGES, SOCKETS, SYSTEM].map(
      (names) => ({ names, action: ALLOW }),
    ),
    { names: ['process_vm_readv', 'process_vm_writev', 'ptrace'], action: ALLOW, includes: { minKernel: '4.8' } },
    // Every family but the kernel's crypto interface (a wide attack surface) and the way to the hypervisor's host.
    { names: ['socket'], action: ALLOW, args: argument(0, AF_ALG, 'SCMP_CMP_LT') },
    { names: ['socket'], action: ALLOW, args: argument(0, AF_ALG + 1, 'SCMP_CMP_EQ') },
    { names: ['socket'], action: ALLOW, args: argument(0, AF_VSOCK, 'SCMP_CMP_GT') },
    ...PERSONALITIES.map((domain) => ({
      names: ['personality'],
      action: ALLOW,
      args: argument(0, domain, 'SCMP_CMP_EQ'),
    })),
    on(['ppc64le'], 'sync_file_range2 swapcontext'),
    on(['arm', 'arm64'], 'arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls'),
    on(['amd64', 'x32'], 'arch_prctl'),
    on(['amd64', 'x32', 'x86'], 'modify_ldt'),
    on(S390, 's390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr'),
    on(['riscv64'], 'riscv_flush_icache'),
    needs('CAP_DAC_READ_SEARCH', 'open_by_handle_at'),
    needs(
      'CAP_SYS_ADMIN',
      `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
       lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
       sethostname setns syslog umount umount2 unshare`,
    ),
    {
      names: ['clone'],
      action: ALLOW,
      args: argument(0, CLONE_NAMESPACES, 'SCMP_CMP_MASKED_EQ', 0),
      excludes: { caps: ['CAP_SYS_ADMIN'], arches: S390 },
    },
    {
      // s390 swaps the first two arguments of clone.
      names: ['clone'],
      action: ALLOW,
      args: argument(1, CLONE_NAMESPACES, 'SCMP_CMP_MASKED_EQ', 0),
      includes: { arches: S390 },
      excludes: { caps: ['CAP_SYS_ADMIN'] },
    },
    {
      // Its flags lie in memory, where a filter cannot look; ENOSYS makes libc fall back to clone.
      names: ['clone3'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: 38,
      excludes: { caps: ['CAP_SYS_ADMIN'] },
    },
    needs('CAP_SYS_BOOT', 'reboot'),
    needs('CAP_SYS_CHROOT', 'chroot'),
    needs('CAP_SYS_MODULE', 'delete_module init_module finit_module'),
    needs('CAP_SYS_PACCT', 'acct'),
    needs('CAP_SYS_PTRACE', 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace'),
    needs('CAP_SYS_RAWIO', 'iopl ioperm'),
    needs('CAP_SYS_TIME', 'settimeofday stime clock_settime clock_settime64'),
    needs('CAP_SYS_TTY_CONFIG', 'vhangup'),
    needs('CAP_SYS_NICE', 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node'),
    needs('CAP_SYSLOG', 'syslog'),
    needs('CAP_BPF', 'bpf'),
    needs('CAP_PERFMON', 'perf_event_open'),
  ],
};

/** The OCI process of an exec: the container's own, with what the exec says put over it. */
import type { ContainerConfig, HostConfig } from '../container/config.ts';
import { capabilitySets } from '../runtime/oci/capabilities.ts';
import { mergeEnvironment } from '../runtime/oci/process.ts';
import type { ProcessSpecification } from '../runtime/oci/spec-types.ts';
import { databasesIn, type ResolvedUser, resolveUser } from '../runtime/oci/user.ts';
import type { ExecConfig } from './machine.ts';

export interface ExecProcessInput {
  /** What the container's init was started with. */
  process: ProcessSpecification;
  /** Of the container's init: its root is read for users and groups. */
  pid: number;
  config: ContainerConfig;
  hostConfig: HostConfig;
  /** All that a privileged process may have. */
  capabilities: readonly string[];
  exec: ExecConfig;
  consoleSize?: [number, number];
}

/** Who it runs as, by the container's own databases. Throws invalid for somebody they do not know. */
export const execUser = ({
  exec,
  config,
  hostConfig,
  pid,
}: Pick<ExecProcessInput, 'exec' | 'config' | 'hostConfig' | 'pid'>): ResolvedUser =>
  resolveUser(exec.user || config.User, hostConfig.GroupAdd ?? [], databasesIn(`/proc/${pid}/root`));

export function execProcess(input: ExecProcessInput): ProcessSpecification {
  const { exec, process } = input;
  const { uid, gid, additionalGids } = execUser(input);
  const [height = 0, width = 0] = input.consoleSize ?? exec.consoleSize ?? [];
  const { consoleSize: _, ...inherited } = process;
  return {
    ...inherited,
    terminal: exec.tty,
    ...(exec.tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
    user: { uid, gid, additionalGids },
    args: exec.command,
    env: mergeEnvironment(exec.tty ? withTerminal(process.env) : process.env, exec.env),
    cwd: exec.workingDir || process.cwd,
    ...(exec.privileged ? { capabilities: capabilitySets(input.capabilities), noNewPrivileges: false } : {}),
    ...(exec.privileged && process.apparmorProfile ? { apparmorProfile: 'unconfined' } : {}),
  };
}

const withTerminal = (env: readonly string[]): string[] =>
  env.some((entry) => entry.startsWith('TERM=')) ? [...env] : [...env, 'TERM=xterm'];

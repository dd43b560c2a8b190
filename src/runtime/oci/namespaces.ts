/** Which namespaces a container gets of its own, joins, or shares with the host. */
import type { HostSettings } from './docker-types.ts';
import { joinedContainer } from './docker-types.ts';
import type { Namespace } from './spec-types.ts';

export interface NamespaceInput {
  settings: HostSettings;
  /** Path of the network namespace made for (or joined by) the container; '' shares the host's. */
  netnsPath: string;
  networkDisabled: boolean;
  /** Pid of the container's init that `container:<id>` of the mode names. */
  joined: { pid?: number; ipc?: number };
  /** Set when ids are remapped and the container did not ask for the host's user namespace. */
  idMappings?: { namespace: string };
}

const procPath = (pid: number | undefined, kind: string): string => `/proc/${pid}/ns/${kind}`;

function network(input: NamespaceInput): Namespace[] {
  if (input.networkDisabled) return [{ type: 'network' }];
  return input.netnsPath ? [{ type: 'network', path: input.netnsPath }] : [];
}

function shared(kind: 'pid' | 'ipc', mode: string | null | undefined, pid: number | undefined): Namespace[] {
  if (mode === 'host') return [];
  return joinedContainer(mode) ? [{ type: kind, path: procPath(pid, kind) }] : [{ type: kind }];
}

/** One for all: who shares a namespace with another container must be in the user namespace that owns it. */
function user({ idMappings, settings }: NamespaceInput): Namespace[] {
  return idMappings && settings.UsernsMode !== 'host' ? [{ type: 'user', path: idMappings.namespace }] : [];
}

export function containerNamespaces(input: NamespaceInput): Namespace[] {
  const { settings, joined } = input;
  return [
    { type: 'mount' },
    ...network(input),
    ...(settings.UTSMode === 'host' ? [] : [{ type: 'uts' as const }]),
    ...shared('pid', settings.PidMode, joined.pid),
    ...shared('ipc', settings.IpcMode, joined.ipc),
    ...(settings.CgroupnsMode === 'private' ? [{ type: 'cgroup' as const }] : []),
    ...user(input),
  ];
}

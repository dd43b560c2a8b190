/** The effects of a start: what the process needs is prepared, created and launched. Each leaves a trace that undo knows. */
import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asDaemonError, DaemonError, invalid, internal, notFound } from '../errors.ts';
import { nowNano, rfc3339Nano } from '../lib/clock.ts';
import type { Sandbox, SandboxRequest } from '../network/port.ts';
import { readHostSide } from '../runtime/oci/host-side.ts';
import { joinedContainer } from '../runtime/oci/docker-types.ts';
import { buildSpec } from '../runtime/oci/spec.ts';
import type { ProcessSpecification, Spec } from '../runtime/oci/spec-types.ts';
import { databasesIn, resolveUser, type ResolvedUser } from '../runtime/oci/user.ts';
import type { UserRemap } from '../host/user-remap.ts';
import { type SystemFiles, systemMounts } from '../volume/resolve.ts';
import type { TaskSpec } from '../runtime/port.ts';
import { startExitCode } from './changes.ts';
import type { Started, Work } from './events.ts';
import type { EffectDeps } from './deps.ts';
import { readThroughLayers, UNCLEAR } from './layered-root.ts';
import { sandboxRequest } from './network-request.ts';
import { openMounts, remapOf } from './mounting.ts';
import type { ContainerRecord } from './record.ts';
import type { Namespace, Session } from './session.ts';
import { watchTask } from './watch.ts';

export const bundleOf = (deps: EffectDeps, id: string): string => join(deps.config.execRoot, 'containers', id);

export const taskSpec = (deps: EffectDeps, record: ContainerRecord): TaskSpec => ({
  id: record.id,
  bundle: bundleOf(deps, record.id),
  rootfs: deps.rootfs.mounts(record.id, remapOf(deps, record)?.seen),
  owner: remapOf(deps, record)?.outside({ uid: 0, gid: 0 }),
  terminal: record.config.Tty,
  stdin: record.config.OpenStdin,
  runtime: record.hostConfig.Runtime || deps.config.defaultRuntime,
  systemdCgroup: deps.host.cgroup.driver === 'systemd',
});

/** Once for each start, whoever asks first: the spec needs the namespace's path, the network lane goes on from it. */
export function namespaceOf(deps: EffectDeps, work: Work, session: Session): Promise<Namespace> {
  session.namespace ??= session.track(deps.networks.prepare(requestOf(deps, work)).catch(networkError(work)));
  return session.namespace;
}

function requestOf(deps: EffectDeps, { record }: Work): SandboxRequest {
  const request = sandboxRequest(record, deps.idOf);
  const other = joinedContainer(request.mode);
  if (other !== undefined && !deps.idOf(other))
    throw notFound(`joining network namespace of container: No such container: ${other}`);
  return request;
}

/** dockerd's words around what is wrong with a container's own network. */
const networkError =
  ({ record }: Work) =>
  (error: unknown): never => {
    const { kind, message, code } = asDaemonError(error);
    if (joinedContainer(record.hostConfig.NetworkMode) !== undefined) throw error;
    throw new DaemonError(kind, `failed to set up container networking: ${message}`, { code, cause: error });
  };

export async function openNetwork(deps: EffectDeps, work: Work): Promise<Sandbox | undefined> {
  const session = deps.sessions.of(work.record.id);
  await namespaceOf(deps, work, session);
  return session.track(deps.networks.open(requestOf(deps, work)).catch(networkError(work)));
}

export async function prepare(deps: EffectDeps, work: Work): Promise<void> {
  const session = deps.sessions.of(work.record.id);
  await session.track(prepareAll(deps, work, session));
}

async function prepareAll(deps: EffectDeps, work: Work, session: Session): Promise<void> {
  const { record } = work;
  const bundle = bundleOf(deps, record.id);
  const [namespace, mounts, user] = await Promise.all([
    namespaceOf(deps, work, session),
    session.track(openMounts(deps, record)),
    userOf(deps, record),
    openLog(deps, record, session),
    writeHostname(record),
    mkdir(join(bundle, 'rootfs'), { recursive: true, mode: 0o711 }),
  ]);
  const remap = remapOf(deps, record);
  const files = { ...namespace, hostnamePath: hostnamePath(record) };
  if (remap) await giveToRoot(remap, files);
  const all = [...systemMounts(files, record.mounts, record.hostConfig.ReadonlyRootfs), ...mounts];
  const side = await readHostSide(record.hostConfig, all, deps.config);
  const spec = buildSpec({
    id: record.id,
    config: session.secretEnv
      ? { ...record.config, Env: [...(record.config.Env ?? []), ...session.secretEnv] }
      : record.config,
    hostConfig: record.hostConfig,
    args: [record.path, ...record.args],
    user,
    host: deps.host,
    daemon: deps.config,
    side,
    netnsPath: namespace.netnsPath,
    mounts: all,
    joined: joinedPids(deps, record),
    idMappings: remap,
  });
  session.process = spec.process;
  // It may hold a build's secrets.
  await writeFile(join(bundle, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
}

/** The OCI process the container was started with; read again after the daemon was. */
export async function processOf(deps: EffectDeps, id: string): Promise<ProcessSpecification> {
  const session = deps.sessions.of(id);
  session.process ??= (JSON.parse(await readFile(join(bundleOf(deps, id), 'config.json'), 'utf8')) as Spec).process;
  return session.process;
}

/** The files that we write for a container are its root's, who may change them. */
async function giveToRoot(remap: UserRemap, files: SystemFiles): Promise<void> {
  const { uid, gid } = remap.outside({ uid: 0, gid: 0 });
  const paths = [files.hostsPath, files.resolvConfPath, files.hostnamePath].filter(Boolean);
  await Promise.all(paths.map((path) => chown(path, uid, gid)));
}

export const hostnamePath = (record: ContainerRecord): string => join(record.directory, 'hostname');

const writeHostname = (record: ContainerRecord): Promise<void> =>
  writeFile(hostnamePath(record), `${record.config.Hostname}\n`, { mode: 0o644 });

export async function openLog(deps: EffectDeps, record: ContainerRecord, session: Session): Promise<void> {
  session.log ??= await session.track(deps.logs.open(record.hostConfig.LogConfig, deps.logInfo(record)));
}

async function userOf(deps: EffectDeps, record: ContainerRecord): Promise<ResolvedUser> {
  const resolve = (read: (path: '/etc/passwd' | '/etc/group') => string | undefined): ResolvedUser =>
    resolveUser(record.config.User, record.hostConfig.GroupAdd ?? [], read);
  const { LowerDir = '', UpperDir = '' } = deps.rootfs.describe(record.id).Data;
  const layers = [UpperDir, ...LowerDir.split(':')].filter(Boolean);
  let unclear = layers.length === 0;
  const user = unclear
    ? undefined
    : tried(() =>
        resolve((path) => {
          const text = readThroughLayers(layers, path);
          if (text === UNCLEAR) unclear = true;
          return text === UNCLEAR ? undefined : text;
        }),
      );
  if (!unclear) {
    if (user instanceof Error) throw user;
    if (user) return user;
  }
  return deps.rootfs.withMounted(record.id, async (root) => resolve(databasesIn(root)));
}

function tried<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (error) {
    return error instanceof Error ? error : internal(String(error));
  }
}

/** Pids of the containers whose namespaces are joined; they have to run. */
function joinedPids(deps: EffectDeps, record: ContainerRecord): { pid?: number; ipc?: number } {
  const pidOf = (mode: string): number | undefined => {
    const id = joinedContainer(mode);
    if (id === undefined) return undefined;
    const pid = deps.sessions.find(id)?.task?.pid;
    if (!pid) throw invalid(`cannot join namespace of container ${id}: it is not running`);
    return pid;
  };
  return { pid: pidOf(record.hostConfig.PidMode), ipc: pidOf(record.hostConfig.IpcMode) };
}

export async function create(deps: EffectDeps, work: Work): Promise<void> {
  const { record } = work;
  const session = deps.sessions.of(record.id);
  const task = await session.track(
    deps.runtime.create(taskSpec(deps, record)).catch((error: unknown) => {
      throw startError(error);
    }),
  );
  session.task = task;
  watchTask(deps, work, session, task);
}

export async function launch(deps: EffectDeps, work: Work): Promise<Started> {
  const session = deps.sessions.of(work.record.id);
  const task = session.task;
  if (!task) throw internal('the container has no task to start');
  await session.track(
    task.start().catch((error: unknown) => {
      throw startError(error);
    }),
  );
  return { pid: task.pid, startedAt: rfc3339Nano(nowNano(deps.clock)) };
}

/** What the runtime says of a program that cannot be run is their request; clients match its words. */
function startError(error: unknown): DaemonError {
  const said = error instanceof Error ? error.message : String(error);
  const message = said.includes('not a directory') ? `${said}${MISMATCH}` : said;
  const kind = startExitCode(message) === 128 ? 'internal' : 'invalid';
  return new DaemonError(kind, message, { code: 'runtime-start', cause: error });
}

const MISMATCH =
  ': Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type';

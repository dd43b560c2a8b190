/** Execs: made in a running container, started once with a connection or without, looked at afterwards. */
import type { ExecConfig, ExecRecord } from '../../exec/machine.ts';
import type { Execs } from '../../exec/service.ts';
import { invalid } from '../../errors.ts';
import type { ExecCreate } from '../../generated/types/exec-create.ts';
import { parseDetachKeys } from '../../streams/detach-keys.ts';
import { type Api, hijack, jsonBody } from '../kit.ts';
import { contentTypeOf } from './attach.ts';
import { sizeOf } from './containers.ts';

const consoleSize = (given: number[] | null | undefined): [number, number] | undefined =>
  given?.length === 2 ? [given[0]!, given[1]!] : undefined;

function checkDetachKeys(keys: string): void {
  try {
    parseDetachKeys(keys);
  } catch (error) {
    throw invalid(`Invalid escape keys (${keys}) provided`, { cause: error });
  }
}

export function execConfig(body: ExecCreate): ExecConfig {
  if (!body.Cmd?.length) throw invalid('No exec command specified');
  checkDetachKeys(body.DetachKeys ?? '');
  return {
    tty: body.Tty ?? false,
    attachStdin: body.AttachStdin ?? false,
    attachStdout: body.AttachStdout ?? false,
    attachStderr: body.AttachStderr ?? false,
    detachKeys: body.DetachKeys ?? '',
    env: body.Env ?? [],
    command: body.Cmd,
    privileged: body.Privileged ?? false,
    user: body.User ?? '',
    workingDir: body.WorkingDir ?? '',
    consoleSize: consoleSize(body.ConsoleSize),
  };
}

function execView({ id, containerId, config, running, exitCode, pid }: ExecRecord): object {
  const [entrypoint = '', ...rest] = config.command;
  return {
    ID: id,
    Running: running,
    ExitCode: exitCode,
    ProcessConfig: {
      tty: config.tty,
      entrypoint,
      arguments: rest,
      privileged: config.privileged,
      ...(config.user ? { user: config.user } : {}),
    },
    OpenStdin: config.attachStdin,
    OpenStderr: config.attachStderr,
    OpenStdout: config.attachStdout,
    CanRemove: exitCode !== null,
    ContainerID: containerId,
    DetachKeys: config.detachKeys,
    Pid: pid,
  };
}

export function execRoutes(api: Api, execs: Execs): void {
  api.post('/containers/:name/exec', async (c) => {
    const config = execConfig(await jsonBody(c, 'exec-create'));
    return c.json({ Id: execs.create(c.req.param('name'), config) }, 201);
  });
  api.post('/exec/:id/start', async (c) => {
    const id = c.req.param('id');
    const body = (await jsonBody(c, 'exec-start', { optional: true })) ?? {};
    const { config } = execs.check(id);
    const options = { consoleSize: consoleSize(body.ConsoleSize) };
    if (body.Detach) {
      await execs.start(id, options);
      return c.body(null, 200);
    }
    return hijack(c, { contentType: contentTypeOf(c, config.tty), framed: !config.tty }, (connection) =>
      execs.serve(id, connection, options),
    );
  });
  api.post('/exec/:id/resize', async (c) => {
    await execs.resize(c.req.param('id'), sizeOf(c));
    return c.body(null, 200);
  });
  api.get('/exec/:id/json', (c) => c.json(execView(execs.inspect(c.req.param('id')))));
}

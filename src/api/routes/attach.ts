/** Attaching to a container's streams, over a taken-over connection and over a websocket. */
import { createWebSocketStream, type WebSocket } from 'ws';
import type { EffectDeps } from '../../container/deps.ts';
import { attachTo, type ContainerAttach } from '../../container/attach.ts';
import type { Containers } from '../../container/service.ts';
import { invalid } from '../../errors.ts';
import { parseDetachKeys } from '../../streams/detach-keys.ts';
import { type Api, type ApiContext, atLeast, flag, hijack, MULTIPLEXED, RAW_STREAM, text, websocket } from '../kit.ts';

export interface AttachDeps {
  containers: Containers;
  effects: EffectDeps;
}

function optionsOf(c: ApiContext): ContainerAttach {
  const [logs, stream, detachKeys] = [flag(c, 'logs'), flag(c, 'stream'), text(c, 'detachKeys')];
  // Refused while there is still an answer to refuse in.
  parseDetachKeys(detachKeys);
  return { logs, stream, stdin: flag(c, 'stdin'), stdout: flag(c, 'stdout'), stderr: flag(c, 'stderr'), detachKeys };
}

/** What the client is told to expect: frames only without a terminal, and by name only since 1.42. */
export const contentTypeOf = (c: ApiContext, tty: boolean): string =>
  !tty && atLeast(c, '1.42') ? MULTIPLEXED : RAW_STREAM;

export function attachRoutes(api: Api, { containers, effects }: AttachDeps): void {
  api.post('/containers/:name/attach', (c) => {
    const record = containers.resolve(c.req.param('name'));
    const attached = attachTo(effects, record, optionsOf(c));
    const { Tty: tty } = record.config;
    const options = { contentType: contentTypeOf(c, tty), framed: !tty, refused: () => attached.cancel() };
    return hijack(c, options, (connection) => attached.serve(connection));
  });
  api.get('/containers/:name/attach/ws', (c) => {
    const record = containers.resolve(c.req.param('name'));
    const options = optionsOf(c);
    if (!options.logs && !options.stream) throw invalid('one of logs and stream is required');
    // Websockets carry one raw stream, whatever the container is.
    const attached = attachTo(effects, record, { ...options, raw: true });
    const serve = async (socket: WebSocket): Promise<void> => {
      const connection = createWebSocketStream(socket, { allowHalfOpen: true });
      await attached.serve(connection);
      connection.end();
    };
    return websocket(c, serve, () => attached.cancel());
  });
}

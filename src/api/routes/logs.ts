/** GET /containers/{name}/logs: past lines from the log's files, and new ones as they are written. */
import { invalid } from '../../errors.ts';
import type { LogConfig, LogDrivers, LogInfo, ReadOptions } from '../../logs/port.ts';
import { renderBatch } from '../../logs/render.ts';
import {
  type Api,
  type ApiContext,
  MULTIPLEXED,
  RAW_STREAM,
  atLeast,
  byteStream,
  flag,
  text,
  timestamp,
} from '../kit.ts';

/** What the logs of a container are found by. */
export interface LogTarget {
  id: string;
  tty: boolean;
  logConfig: LogConfig;
  info: LogInfo;
}

export interface LogsService {
  drivers: Pick<LogDrivers, 'batches'>;
  /** Throws notFound ("No such container: x"), or conflict when its log is going away. */
  logTarget(name: string): LogTarget | Promise<LogTarget>;
}

function optionsOf(c: ApiContext): ReadOptions {
  const [stdout, stderr] = [flag(c, 'stdout'), flag(c, 'stderr')];
  if (!stdout && !stderr) throw invalid('Bad parameters: you must choose at least one stream');
  const tail = Number(text(c, 'tail') ?? 'all');
  return {
    stdout,
    stderr,
    sinceNano: timestamp(c, 'since') || undefined,
    untilNano: timestamp(c, 'until') || undefined,
    tail: Number.isInteger(tail) && tail >= 0 ? tail : -1,
    follow: flag(c, 'follow'),
    signal: c.get('gone'),
  };
}

export function logRoutes(api: Api, service: LogsService): void {
  api.get('/containers/:name/logs', async (c) => {
    const target = await service.logTarget(c.req.param('name'));
    const options = optionsOf(c);
    const rendering = { raw: target.tty, timestamps: flag(c, 'timestamps'), details: flag(c, 'details') };
    const bytes = service.drivers.batches(target.logConfig, target.info, options, (batch) =>
      renderBatch(batch, rendering),
    );
    const framed = !target.tty && atLeast(c, '1.42');
    return byteStream(c, bytes, framed ? MULTIPLEXED : RAW_STREAM);
  });
}

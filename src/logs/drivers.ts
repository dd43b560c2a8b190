/** The log drivers by name: their options, how to open them, and where what they wrote can be read again. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { internal, invalid, notImplemented } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { own } from '../lib/own.ts';
import { DualWriter } from './dual.ts';
import { type RecordFormat, readLog } from './file/reader.ts';
import type { RotatingFile } from './file/rotating-file.ts';
import { jsonFormat } from './json-file/decode.ts';
import { JsonFileWriter } from './json-file/writer.ts';
import { localFormat } from './local/codec.ts';
import { LocalWriter } from './local/writer.ts';
import {
  ATTRIBUTE_KEYS,
  CACHE_KEYS,
  COMMON_KEYS,
  FILE_KEYS,
  type FileOptions,
  type Options,
  booleanOption,
  fileOptions,
  modeOptions,
} from './options.ts';
import type { LogConfig, LogDrivers, LogEntry, LogInfo, LogWriter, ReadOptions } from './port.ts';
import { FLUENTD_KEYS, fluentdSettings, openFluentd } from './remote/fluentd.ts';
import { GELF_KEYS, checkGelf, openGelf } from './remote/gelf.ts';
import { openJournald } from './remote/journald.ts';
import { SYSLOG_KEYS, openSyslog, syslogAddress, syslogFacility, syslogFormat } from './remote/syslog.ts';
import { type MessageSink, MessageWriter } from './remote/writer.ts';
import { RingWriter } from './ring.ts';
import { attributesOf, tagOf } from './tag.ts';

const JSON_FILES: FileOptions = { maxSize: -1, maxFiles: 1, compress: false };
const LOCAL_FILES: FileOptions = { maxSize: 20 << 20, maxFiles: 5, compress: true };

interface Driver {
  keys: readonly string[];
  check(options: Options): void;
  /** Where it can be read: its own files, or a copy beside it. */
  files: 'json-file' | 'local' | 'copy' | 'none';
  /** Drivers whose messages leave the host. */
  sink?: (options: Options, info: LogInfo, log: Logger) => Promise<MessageSink>;
}

const remote = (
  keys: readonly string[],
  check: (options: Options) => void,
  sink: NonNullable<Driver['sink']>,
): Driver => ({
  keys: [...keys, ...ATTRIBUTE_KEYS, ...CACHE_KEYS],
  check(options) {
    check(options);
    copyOptions(options);
  },
  files: 'copy',
  sink,
});

const DRIVERS: Readonly<Record<string, Driver>> = {
  'json-file': {
    keys: [...FILE_KEYS, ...ATTRIBUTE_KEYS],
    check: (options) => void fileOptions(options, JSON_FILES),
    files: 'json-file',
  },
  local: { keys: FILE_KEYS, check: (options) => void fileOptions(options, LOCAL_FILES), files: 'local' },
  none: { keys: [], check: () => {}, files: 'none' },
  syslog: remote(
    SYSLOG_KEYS,
    (options) => {
      syslogAddress(options['syslog-address']);
      syslogFacility(options['syslog-facility']);
      syslogFormat(options['syslog-format']);
    },
    openSyslog,
  ),
  gelf: remote(GELF_KEYS, checkGelf, openGelf),
  fluentd: remote(FLUENTD_KEYS, (options) => void fluentdSettings(options), openFluentd),
  journald: remote(
    [],
    () => {},
    (options, info) => openJournald(options, info),
  ),
};

/** As /info lists them. */
export const LOG_DRIVER_NAMES: readonly string[] = Object.keys(DRIVERS)
  .filter((name) => name !== 'none')
  .sort();

const copyOptions = (options: Options): FileOptions | undefined =>
  booleanOption(options, 'cache-disabled', false) ? undefined : fileOptions(options, LOCAL_FILES, 'cache-');

function driverOf(config: LogConfig): Driver {
  const driver = own(DRIVERS, config.Type);
  if (!driver) throw invalid(`error looking up logging plugin ${config.Type}: plugin "${config.Type}" not found`);
  return driver;
}

function validate(config: LogConfig): void {
  const driver = driverOf(config);
  const options = config.Config ?? {};
  for (const key of Object.keys(options)) {
    // `none` takes whatever was meant for another driver.
    if (config.Type === 'none' || driver.keys.includes(key) || (COMMON_KEYS as readonly string[]).includes(key))
      continue;
    throw invalid(`unknown log opt '${key}' for ${config.Type} log driver`);
  }
  modeOptions(options);
  driver.check(options);
}

/** Where a container's log can be read, if it can. */
function readable(config: LogConfig, info: LogInfo): { path: string; format: RecordFormat } | undefined {
  const { files } = driverOf(config);
  if (files === 'json-file') return { path: join(info.directory, `${info.containerId}-json.log`), format: jsonFormat };
  if (files === 'local') return { path: join(info.directory, 'local-logs', 'container.log'), format: localFormat };
  if (files === 'none' || !copyOptions(config.Config ?? {})) return undefined;
  return { path: join(info.directory, 'container-cached.log'), format: localFormat };
}

const NOTHING: LogWriter = { write: () => undefined, close: async () => {} };

export function createLogDrivers({ log, clock }: { config: Config; log: Logger; clock: Clock }): LogDrivers {
  /** Files being written, by container: what readers follow. */
  const live = new Map<string, RotatingFile>();

  const onError = (info: LogInfo) => (error: unknown) =>
    log.error({ err: error, container: info.containerId }, 'a log failed');

  /** A writer that is known to readers while it is open. */
  const registered = (info: LogInfo, writer: LogWriter & { file: RotatingFile }): LogWriter => {
    live.set(info.containerId, writer.file);
    return {
      write: (stream, chunk) => writer.write(stream, chunk),
      async close() {
        if (live.get(info.containerId) === writer.file) live.delete(info.containerId);
        await writer.close();
      },
    };
  };

  const openFiles = (config: LogConfig, info: LogInfo): LogWriter => {
    const options = config.Config ?? {};
    const { path } = readable(config, info)!;
    const common = { path, clock, onError: onError(info) };
    if (config.Type !== 'json-file') {
      const files = config.Type === 'local' ? fileOptions(options, LOCAL_FILES) : copyOptions(options)!;
      return registered(info, new LocalWriter({ ...common, ...files }));
    }
    const attributes = attributesOf(options, info);
    if (options.tag) attributes.tag = tagOf(options, info, '');
    return registered(info, new JsonFileWriter({ ...common, ...fileOptions(options, JSON_FILES), attributes }));
  };

  const openRemote = async (
    config: LogConfig,
    info: LogInfo,
    open: NonNullable<Driver['sink']>,
  ): Promise<LogWriter> => {
    const options = config.Config ?? {};
    let sink: MessageSink;
    try {
      sink = await open(options, info, log);
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      throw internal(`failed to create task for container: failed to initialize logging driver: ${words}`, {
        cause: error,
      });
    }
    const writer = new MessageWriter(sink, clock);
    return readable(config, info) ? new DualWriter(writer, openFiles(config, info), onError(info)) : writer;
  };

  const batches = <T>(
    config: LogConfig,
    info: LogInfo,
    options: ReadOptions,
    make: (batch: LogEntry[]) => T,
  ): AsyncIterable<T> => {
    const place = readable(config, info);
    if (!place) throw notImplemented('configured logging driver does not support reading');
    return readLog({ ...place, live: live.get(info.containerId) }, options, make);
  };

  return {
    validate,
    async open(config, info) {
      validate(config);
      const driver = driverOf(config);
      if (driver.files === 'none') return NOTHING;
      const writer = driver.sink ? await openRemote(config, info, driver.sink) : openFiles(config, info);
      const { blocking, buffer } = modeOptions(config.Config ?? {});
      return blocking ? writer : new RingWriter(writer, buffer, onError(info));
    },
    batches,
    path(config, info) {
      const { files } = driverOf(config);
      return files === 'json-file' || files === 'local' ? readable(config, info)!.path : '';
    },
    async remove(info) {
      const names = await readdir(info.directory).catch(() => []);
      const ours = names.filter(
        (name) => name === 'local-logs' || name.includes('-json.log') || name.startsWith('container-cached.log'),
      );
      await Promise.all(ours.map((name) => rm(join(info.directory, name), { recursive: true, force: true })));
    },
  };
}

/** Readers of single option values: from a flag's text or a daemon.json value to what Config holds. Each throws `invalid`. */
import { isIP } from 'node:net';
import { invalid } from '../errors.ts';
import type { AddressPool, RuntimeConfig, Ulimit } from './config.ts';

/** Reads a value; `name` is the flag or key for the error. */
export type Read<T> = (value: unknown, name: string) => T;

const fail = (name: string, value: unknown, wants: string): never => {
  throw invalid(`invalid value ${JSON.stringify(value)} for ${name}: ${wants}`);
};

export const string: Read<string> = (value, name) =>
  typeof value === 'string' ? value : fail(name, value, 'a string is expected');

export const boolean: Read<boolean> = (value, name) => {
  if (typeof value === 'boolean') return value;
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  return fail(name, value, 'true or false is expected');
};

export const integer =
  (least: number, most = Number.MAX_SAFE_INTEGER): Read<number> =>
  (value, name) => {
    const number = typeof value === 'number' ? value : /^-?\d+$/.test(String(value)) ? Number(value) : Number.NaN;
    if (!Number.isInteger(number) || number < least || number > most)
      return fail(name, value, `a whole number of at least ${least} is expected`);
    return number;
  };

export const oneOf =
  <T extends string>(...allowed: readonly T[]): Read<T> =>
  (value, name) =>
    allowed.includes(value as T) ? (value as T) : fail(name, value, `one of ${allowed.join(', ')} is expected`);

/** A list; a flag gives one element (comma-separated where `split`), daemon.json an array. */
export const list =
  <T>(read: Read<T>): Read<T[]> =>
  (value, name) =>
    (Array.isArray(value) ? value : [value]).map((element) => read(element, name));

export const address: Read<string> = (value, name) =>
  isIP(String(value)) ? String(value) : fail(name, value, 'an IP address is expected');

export const cidr: Read<string> = (value, name) => {
  const [ip = '', bits = ''] = String(value).split('/');
  const family = isIP(ip);
  const most = family === 4 ? 32 : 128;
  if (!family || !/^\d+$/.test(bits) || Number(bits) > most)
    return fail(name, value, 'an address in CIDR form is expected, such as 172.17.0.1/16');
  return String(value);
};

/** unix://, tcp:// and fd:// as dockerd's -H takes them; a bare path or host:port is completed. */
export const host: Read<string> = (value, name) => {
  const text = string(value, name).trim();
  if (/^fd:\/\//.test(text)) return text;
  if (text.startsWith('unix://')) {
    const path = text.slice('unix://'.length);
    return path.startsWith('/') ? text : fail(name, value, 'the path of a unix socket must be absolute');
  }
  const match = /^(?:tcp:\/\/)?(\[[0-9a-fA-F:]+\]|[^:/]+):(\d{1,5})\/?$/.exec(text);
  if (match && Number(match[2]) <= 65535) return `tcp://${match[1]}:${match[2]}`;
  return fail(name, value, 'unix:///path, tcp://host:port or fd:// is expected');
};

/** dockerd's exec-opts, of which it has one on Linux. */
export const execOptions: Read<'cgroupfs' | 'systemd' | ''> = (value, name) => {
  let driver: 'cgroupfs' | 'systemd' | '' = '';
  for (const text of list(string)(value, name)) {
    const wanted = /^native\.cgroupdriver=(cgroupfs|systemd)$/.exec(text.trim())?.[1];
    if (!wanted) return fail(name, text, 'native.cgroupdriver=cgroupfs or native.cgroupdriver=systemd is expected');
    driver = wanted as 'cgroupfs' | 'systemd';
  }
  return driver;
};

/** dockerd's features: one counts here, those that are so anyway do no harm. Returns whether clients are told to use BuildKit. */
export const features: Read<boolean> = (value, name) => {
  const entries = Object.entries(stringMap(value, name)).map(
    ([key, on]) => [key, boolean(on, `${name}.${key}`)] as const,
  );
  for (const [key, on] of entries)
    if (key !== 'buildkit' && on !== (key === 'cdi')) throw invalid(`${name}: ${key}=${on} is not supported`);
  return entries.find(([key]) => key === 'buildkit')?.[1] ?? true;
};

/** Sizes as 64m, 1.5GB, 1024: bytes. */
export const bytes: Read<number> = (value, name) => {
  if (typeof value === 'number') return value;
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(String(value));
  if (!match) return fail(name, value, 'a size such as 64m is expected');
  return Math.round(Number(match[1]) * 1024 ** ' kmgt'.indexOf((match[2] || ' ').toLowerCase()));
};

const pairOf = (value: unknown, name: string): [string, string] => {
  const text = string(value, name);
  const at = text.indexOf('=');
  return at > 0 ? [text.slice(0, at), text.slice(at + 1)] : fail(name, value, 'key=value is expected');
};

/** key=value flags, an object in daemon.json. */
export const stringMap: Read<Record<string, string>> = (value, name) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, String(inner)]))
    : Object.fromEntries(list(pairOf)(value, name));

export const runtimes: Read<Record<string, RuntimeConfig>> = (value, name) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return Object.fromEntries(list(pairOf)(value, name).map(([key, path]) => [key, { path }]));
  return Object.fromEntries(
    Object.entries(value as Record<string, Record<string, unknown>>).map(([key, entry]) => {
      if (!entry || typeof entry.path !== 'string') return fail(name, value, `runtime ${key} needs a path`);
      const args = entry.runtimeArgs === undefined ? undefined : list(string)(entry.runtimeArgs, `${name}.runtimeArgs`);
      return [key, { path: entry.path, ...(args ? { runtimeArgs: args } : {}) }];
    }),
  );
};

const poolOf: Read<AddressPool> = (value, name) => {
  const parts =
    typeof value === 'string'
      ? Object.fromEntries(value.split(',').map((part) => pairOf(part, name)))
      : (value as Record<string, unknown>);
  return { base: cidr(parts?.base, `${name}.base`), size: integer(1, 128)(parts?.size, `${name}.size`) };
};
export const pools: Read<AddressPool[]> = list(poolOf);

const limit = integer(-1);

/** nofile=1024:2048 flags; {"nofile": {"Name", "Hard", "Soft"}} in daemon.json. */
export const ulimits: Read<Record<string, Ulimit>> = (value, name) => {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.fromEntries(
      Object.entries(value as Record<string, Record<string, unknown>>).map(([key, entry]) => [
        key,
        {
          Name: key,
          Hard: limit(entry?.Hard, `${name}.${key}`),
          Soft: limit(entry?.Soft ?? entry?.Hard, `${name}.${key}`),
        },
      ]),
    );
  return Object.fromEntries(
    list(pairOf)(value, name).map(([key, text]) => {
      const [soft, hard] = text.split(':');
      return [key, { Name: key, Soft: limit(soft, name), Hard: limit(hard ?? soft, name) }];
    }),
  );
};

/** Seconds; -1 waits for ever. */
export const seconds = integer(-1, 86_400);

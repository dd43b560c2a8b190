/** RUN --mount: what is written there, checked and typed. Pure. */
import { invalid } from '../errors.ts';
import { own } from '../lib/own.ts';

export type MountType = 'bind' | 'cache' | 'tmpfs' | 'secret' | 'ssh';

export interface RunMount {
  type: MountType;
  target: string;
  source: string;
  from?: string;
  readOnly: boolean;
  id: string;
  sharing: 'shared' | 'private' | 'locked';
  required: boolean;
  /** Bytes; tmpfs. */
  size?: number;
  mode?: number;
  uid: number;
  gid: number;
  /** secret: the variable it is given in. */
  env?: string;
}

const TYPES: readonly string[] = ['bind', 'cache', 'tmpfs', 'secret', 'ssh'];
const ALLOWED: Record<MountType, readonly string[]> = {
  bind: ['target', 'source', 'from', 'readonly'],
  cache: ['target', 'source', 'from', 'readonly', 'id', 'sharing', 'mode', 'uid', 'gid'],
  tmpfs: ['target', 'size'],
  secret: ['target', 'id', 'required', 'mode', 'uid', 'gid', 'env'],
  ssh: ['target', 'id', 'required', 'mode', 'uid', 'gid'],
};
const SAME: Record<string, string> = {
  dst: 'target',
  destination: 'target',
  src: 'source',
  ro: 'readonly',
  rw: 'readwrite',
};
const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  k: 1 << 10,
  kb: 1 << 10,
  m: 1 << 20,
  mb: 1 << 20,
  g: 1 << 30,
  gb: 1 << 30,
};

const truth = (text: string, key: string): boolean => {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw invalid(`invalid value for ${key}: ${text}`);
};

const natural = (text: string | undefined, key: string, radix = 10): number | undefined => {
  if (text === undefined) return undefined;
  const value = parseInt(text, radix);
  if (!(radix === 8 ? /^[0-7]+$/ : /^\d+$/).test(text)) throw invalid(`invalid value ${text} for ${key}`);
  return value;
};

function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+)\s*([a-z]*)$/i.exec(text);
  const unit = own(UNITS, match?.[2]!.toLowerCase() ?? '?');
  if (!match || !unit) throw invalid(`invalid value for size: ${text}`);
  return Number(match[1]) * unit;
}

/** Fields as written: `a=b,"c=d,e"`; a word without `=` is true. */
function fieldsOf(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const [, quoted, plain] of text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) {
    const field = quoted?.replace(/""/g, '"') ?? plain ?? '';
    if (!field) continue;
    const equals = field.indexOf('=');
    const name = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    fields.set(own(SAME, name) ?? name, equals < 0 ? 'true' : field.slice(equals + 1));
  }
  return fields;
}

function defaultTarget(type: MountType, fields: Map<string, string>, id: string): string {
  const given = fields.get('target');
  if (given) return given;
  if (type === 'secret' && id) return fields.has('env') ? '' : `/run/secrets/${id}`;
  if (type === 'ssh') return '/run/buildkit/ssh_agent.0';
  throw invalid(`invalid mount config for type "${type}": target is required`);
}

/** `expand` fills in variables. */
export function parseMount(text: string, expand: (text: string) => string): RunMount {
  const fields = fieldsOf(text);
  for (const [name, value] of fields) fields.set(name, expand(value));
  const type = (fields.get('type') ?? 'bind').toLowerCase();
  fields.delete('type');
  if (!TYPES.includes(type)) throw invalid(`unsupported mount type ${JSON.stringify(type)}`);
  const kind = type as MountType;
  const readWrite = fields.get('readwrite');
  if (readWrite !== undefined) {
    fields.delete('readwrite');
    fields.set('readonly', truth(readWrite, 'readwrite') ? 'false' : 'true');
  }
  for (const name of fields.keys())
    if (!ALLOWED[kind].includes(name)) throw invalid(`unexpected key '${name}' in '${text}'`);
  const source = fields.get('source') ?? '';
  const id =
    fields.get('id') ??
    (kind === 'secret' ? source || lastPart(fields.get('target')) : kind === 'ssh' ? 'default' : '');
  if (kind === 'secret' && !id) throw invalid('invalid mount config for type "secret": id or target is required');
  const target = defaultTarget(kind, fields, id);
  const sharing = fields.get('sharing') ?? 'shared';
  if (sharing !== 'shared' && sharing !== 'private' && sharing !== 'locked')
    throw invalid(`unsupported sharing value ${JSON.stringify(sharing)}`);
  const readonly = fields.get('readonly');
  return {
    type: kind,
    target,
    source,
    from: fields.get('from'),
    readOnly: readonly === undefined ? kind === 'bind' : truth(readonly, 'readonly'),
    id: id || target,
    sharing,
    required: truth(fields.get('required') ?? 'false', 'required'),
    size: sizeOf(fields.get('size')),
    mode: natural(fields.get('mode'), 'mode', 8),
    uid: natural(fields.get('uid'), 'uid') ?? 0,
    gid: natural(fields.get('gid'), 'gid') ?? 0,
    env: fields.get('env'),
  };
}

const lastPart = (path = ''): string => path.split('/').filter(Boolean).at(-1) ?? '';

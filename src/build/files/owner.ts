/** Names of users and groups as the image itself has them: its passwd and group files, read inside its root. */
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid } from '../../errors.ts';
import type { Owner } from './copy.ts';
import { resolveIn } from './resolve.ts';

/** Larger ones are no real passwd file (CVE of huge files: they are not read at all). */
const MAX_BYTES = 1 << 20;

function lines(root: string, path: string): string[][] {
  const place = join(root, resolveIn(root, path));
  const stat = fs.lstatSync(place, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.size > MAX_BYTES) return [];
  return fs
    .readFileSync(place, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
}

const MAX_ID = 0x7fff_ffff;
const isId = (text: string): boolean => /^\d+$/.test(text) && Number(text) <= MAX_ID;

function find(root: string, path: string, name: string, what: string): number {
  if (isId(name)) return Number(name);
  const found = lines(root, path).find((fields) => fields[0] === name && isId(fields[2] ?? ''));
  if (!found)
    throw invalid(
      `can't find ${what} for ${what === 'uid' ? 'user' : 'group'} ${name}: no such ${what === 'uid' ? 'user' : 'group'}: ${name}`,
    );
  return Number(found[2]);
}

/** `user`, `user:group`, `1000`, `1000:1000`. A lone user's number is its group's too, as dockerd has it. */
export function resolveOwner(root: string, text: string): Owner {
  const [user = '', group = user, ...more] = text.split(':');
  if (more.length || !user) throw invalid(`invalid chown string: ${text}`);
  const uid = find(root, '/etc/passwd', user, 'uid');
  if (text.includes(':')) return { uid, gid: find(root, '/etc/group', group, 'gid') };
  const entry = isId(user) ? undefined : lines(root, '/etc/passwd').find((fields) => fields[0] === user);
  return { uid, gid: entry && isId(entry[3] ?? '') ? Number(entry[3]) : uid };
}

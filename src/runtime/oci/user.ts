/**
 * Who the container's process runs as: `user`, `uid`, `user:group`, `uid:gid` and their mixtures, looked up in the
 * image's own /etc/passwd and /etc/group (passwd(5), group(5)). A number is always an id, never a name.
 */
import { invalid } from '../../errors.ts';
import { readFileInRoot } from '../../host/rootfs.ts';
import type { User } from './spec-types.ts';

/** A larger database is treated as absent: an image must not make us read without end. */
const DATABASE_LIMIT = 8 << 20;

/** Ids beyond it would come out as another one, even as root, on 32 bits (CVE-2024-40635). */
const MAX_ID = 2 ** 31 - 1;

/** Text of a user database file, or undefined when it is not there. */
export type ReadDatabase = (path: '/etc/passwd' | '/etc/group') => string | undefined;

export interface ResolvedUser extends User {
  home: string;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/** Reads the databases inside `root`, never following a link out of it. */
export const databasesIn =
  (root: string): ReadDatabase =>
  (path) =>
    readFileInRoot(root, path, DATABASE_LIMIT);

function* lines(text: string | undefined): Iterable<string[]> {
  for (const line of text?.split('\n') ?? []) {
    const trimmed = line.trim();
    if (trimmed && !trimmed.startsWith('#')) yield trimmed.split(':');
  }
}

/** Ids that are no numbers count as 0, as in the C library's readers dockerd follows. */
const idOf = (field: string | undefined): number => (/^\d+$/.test(field ?? '') ? Number(field) : 0);

function findPasswd(text: string | undefined, wanted: (entry: PasswdEntry) => boolean): PasswdEntry | undefined {
  for (const [name = '', , uid, gid, , home = ''] of lines(text)) {
    const entry = { name, uid: idOf(uid), gid: idOf(gid), home };
    if (wanted(entry)) return entry;
  }
  return undefined;
}

function findGroups(text: string | undefined, wanted: (entry: GroupEntry) => boolean): GroupEntry[] {
  const found: GroupEntry[] = [];
  for (const [name = '', , gid, members = ''] of lines(text)) {
    const entry = { name, gid: idOf(gid), members: members.split(',').filter(Boolean) };
    if (wanted(entry)) found.push(entry);
  }
  return found;
}

/** The number a field stands for, or undefined for a name. */
function numeric(field: string): number | undefined {
  if (!/^[+-]?\d+$/.test(field)) return undefined;
  return checkedId(Number(field));
}

function checkedId(id: number): number {
  if (id < 0 || id > MAX_ID) throw invalid(`uids and gids must be in range 0-${MAX_ID}`);
  return id;
}

function findUser(spec: string, passwd: string | undefined): { uid: number; gid: number; home: string; name: string } {
  const uid = spec === '' ? 0 : numeric(spec);
  const entry = findPasswd(passwd, (candidate) =>
    uid === undefined ? candidate.name === spec : candidate.uid === uid,
  );
  if (entry) return { ...entry, uid: checkedId(entry.uid), gid: checkedId(entry.gid) };
  if (uid === undefined) throw invalid(`unable to find user ${spec}: no matching entries in passwd file`);
  return { uid, gid: 0, home: '', name: '' };
}

/** First match wins; an unknown number is taken as it is, an unknown name is an error. */
function findGroup(spec: string, group: string | undefined): number {
  const gid = numeric(spec);
  const [entry] = findGroups(group, (candidate) =>
    gid === undefined ? candidate.name === spec : candidate.gid === gid,
  );
  if (entry) return checkedId(entry.gid);
  if (gid === undefined) throw invalid(`unable to find group ${spec}: no matching entries in group file`);
  return gid;
}

export function resolveUser(spec: string, groupAdd: readonly string[], read: ReadDatabase): ResolvedUser {
  const at = spec.indexOf(':');
  const [userSpec, groupSpec] = at < 0 ? [spec, ''] : [spec.slice(0, at), spec.slice(at + 1)];
  const user = findUser(userSpec, read('/etc/passwd'));
  const group = groupSpec || user.name || groupAdd.length ? read('/etc/group') : undefined;
  const gid = groupSpec ? findGroup(groupSpec, group) : user.gid;
  const member = (entry: GroupEntry): boolean => entry.members.includes(user.name);
  const supplementary = groupSpec || !user.name ? [] : findGroups(group, member).map((entry) => checkedId(entry.gid));
  const added = groupAdd.map((name) => findGroup(name, group));
  return {
    uid: user.uid,
    gid,
    // The primary group is among them, or a process could drop it and pass "group may not" checks (CVE-2023-25173).
    additionalGids: [...new Set([gid, ...supplementary, ...added])],
    home: user.home,
  };
}

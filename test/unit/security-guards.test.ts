import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseDockerfile } from '../../src/build/dockerfile/parse.ts';
import { expandText, expandWord } from '../../src/build/dockerfile/words.ts';
import { parseGit } from '../../src/build/fetch.ts';
import { openDirectories } from '../../src/build/mount-open.ts';
import { compileGlob } from '../../src/build/patterns.ts';
import { subordinateIds } from '../../src/host/user-remap.ts';
import { runtimeWarnings } from '../../src/runtime/version-gate.ts';

describe('the table of holes', () => {
  const textOf = (name: string): string => readFileSync(join('test', `${name}.test.ts`), 'utf8');
  const rows = readFileSync('docs/security.md', 'utf8')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .filter(([, hole = '', , , where = '']) => /CVE-|GHSA-/.test(hole) && where.includes('/'))
    .map(([, hole = '', , , where = '']) => {
      let directory = '';
      const files = where.split(', ').map((name) => {
        if (name.includes('/')) directory = name.split('/')[0]!;
        return name.includes('/') ? name : `${directory}/${name}`;
      });
      return { holes: hole.match(/CVE-\d+-\d+|GHSA-\w+/g)!, files };
    });

  test('is whole, and each has a test that is named by it', () => {
    expect(rows.length).toBeGreaterThan(30);
    const untested = rows.flatMap(({ holes, files }) =>
      holes.filter((hole) => !files.some((file) => new RegExp(`['\`].*${hole}.*['\`]`).test(textOf(file)))),
    );
    expect(untested).toEqual([]);
  });
});

describe('a runtime', () => {
  const closed = (version: string): boolean => runtimeWarnings('runc', version).length === 0;

  test('from before the escapes were closed is warned of (CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)', () => {
    expect(runtimeWarnings('runc', '1.1.5+ds1')).toEqual([
      expect.stringContaining('CVE-2024-21626'),
      expect.stringContaining('CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 were closed (in 1.2.8, 1.3.3, 1.4.0)'),
    ]);
    expect(runtimeWarnings('runc', '1.1.15')).toHaveLength(1);
    expect(['1.2.7', '1.3.2', '1.0.0-rc95'].map(closed)).toEqual([false, false, false]);
    expect(['1.2.8', '1.3.3', '1.3.10', '1.4.0', '1.5.1', '2.0.0'].map(closed)).not.toContain(false);
  });

  test('that we know nothing of, or that says nothing, is left alone', () => {
    expect([runtimeWarnings('youki', '0.1.0'), runtimeWarnings('runc', ''), runtimeWarnings('crun', '1.20')]).toEqual([
      [],
      [],
      [],
    ]);
  });
});

describe('subordinate ids', () => {
  const text = '# none\nother:1:2\nuser:100000:65536\n1000:300000:10\nuser:x:5\nuser:7:0\nuser\n';

  test('are those of a user by name or number, one range after the other', () => {
    expect(subordinateIds(text, ['user', '1000'])).toEqual([
      { containerID: 0, hostID: 100_000, size: 65_536 },
      { containerID: 65_536, hostID: 300_000, size: 10 },
    ]);
    expect(subordinateIds(text, ['nobody'])).toEqual([]);
  });
});

test.each(['--upload-pack=x', '-x#main', 'ext::sh -c x', 'https://host/x.git#-x', 'fd::3/x'])(
  '%s is no git source (CVE-2019-13139)',
  (source) => {
    expect(() => parseGit(source)).toThrow(/invalid git reference/);
  },
);

describe('what is long or deep', () => {
  const deep = 20_000;

  test('in a Dockerfile is read in time that grows with it, or refused', () => {
    const joined = parseDockerfile(`FROM a\nRUN ${'x \\\n'.repeat(50_000)}y`);
    expect(joined.stages).toHaveLength(1);
    const nested = '${a:-'.repeat(deep) + '}'.repeat(deep);
    for (const expand of [expandWord, expandText])
      expect(() => expand(nested, '\\', () => undefined)).toThrow(/nested too deeply/);
    expect(compileGlob('**/*a'.repeat(50)).test('a/'.repeat(500))).toBe(false);
  });
});

describe('a directory of a shared cache', () => {
  let base: string;
  let root: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'security-cache-'));
    root = join(base, 'root');
    mkdirSync(join(root, 'a'), { recursive: true });
    mkdirSync(join(base, 'outside'));
  });
  afterEach(() => {
    expect(readdirSync(join(base, 'outside'))).toEqual([]);
    rmSync(base, { recursive: true });
  });
  const opened = (path: string): string => {
    const fd = openDirectories(root, path);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).slice(base.length);
    } finally {
      closeSync(fd);
    }
  };

  test('is found or made inside, whatever links and dots say (CVE-2024-23651)', () => {
    symlinkSync(join(base, 'outside'), join(root, 'absolute'));
    symlinkSync('../../../outside', join(root, 'a/relative'));
    mkdirSync(join(root, 'outside'));
    symlinkSync('/a', join(root, 'inside'));
    expect(opened('a/b/c')).toBe('/root/a/b/c');
    expect(opened('../../x')).toBe('/root/x');
    expect(opened('inside/d')).toBe('/root/a/d');
    expect(opened('a/relative/e')).toBe('/root/outside/e');
    // Its target is missing inside, and is not made through a link.
    expect(() => opened('absolute/x')).toThrow(/ENOENT|no such file/i);
  });
});

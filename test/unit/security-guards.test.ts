import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseGit } from '../../src/build/fetch.ts';
import { openDirectories } from '../../src/build/mount-open.ts';
import { loadConfig, parseCommandLine } from '../../src/config/load.ts';
import { runtimeWarnings } from '../../src/runtime/version-gate.ts';

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

test('remapping of users is refused rather than left out', () => {
  const directory = mkdtempSync(join(tmpdir(), 'security-config-'));
  const file = join(directory, 'daemon.json');
  const load = (text: string, ...flags: string[]) => {
    writeFileSync(file, text);
    return () => loadConfig(parseCommandLine(['--config-file', file, ...flags]));
  };
  expect(load('{}', '--userns-remap=default')).toThrow('--userns-remap is not supported yet');
  expect(load('{"userns-remap":"nobody:nogroup"}')).toThrow('--userns-remap is not supported yet');
  expect(load('{}', '--userns-remap=')).not.toThrow();
  rmSync(directory, { recursive: true });
});

test.each(['--upload-pack=x', '-x#main', 'ext::sh -c x', 'https://host/x.git#-x', 'fd::3/x'])(
  '%s is no git source (CVE-2019-13139)',
  (source) => {
    expect(() => parseGit(source)).toThrow(/invalid git reference/);
  },
);

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

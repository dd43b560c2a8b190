/** The daemon's table of OCI runtimes by name; one with arguments of its own becomes a small script, as the shim takes only a path. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config/config.ts';
import { invalid } from '../../errors.ts';

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

export function runtimeTable(config: Config, directory: string): (name: string) => string {
  const scripts = new Map<string, string>();
  const script = (name: string, words: string[]): string => {
    let path = scripts.get(name);
    if (!path) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      path = join(directory, encodeURIComponent(name));
      writeFileSync(path, `#!/bin/sh\nexec ${words.map(quote).join(' ')} "$@"\n`);
      chmodSync(path, 0o700);
      scripts.set(name, path);
    }
    return path;
  };
  return (wanted) => {
    const name = wanted || config.defaultRuntime;
    const known = config.runtimes[name];
    if (!known && name !== 'runc') throw invalid(`unknown or invalid runtime name: ${name}`);
    const path = known?.path || name;
    return known?.runtimeArgs?.length ? script(name, [path, ...known.runtimeArgs]) : path;
  };
}

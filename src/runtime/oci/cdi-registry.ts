/**
 * Container Device Interface: specs of vendors, JSON or YAML files in the CDI directories, say what a device named
 * `vendor.com/class=name` adds to a container (github.com/cncf-tags/container-device-interface, SPEC.md).
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hook, HookName } from './spec-types.ts';

export interface CdiDeviceNode {
  path: string;
  hostPath?: string;
  type?: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  permissions?: string;
  uid?: number;
  gid?: number;
}

export interface CdiEdits {
  env?: string[];
  deviceNodes?: CdiDeviceNode[];
  mounts?: { hostPath: string; containerPath: string; type?: string; options?: string[] }[];
  hooks?: (Hook & { hookName: HookName })[];
  additionalGids?: number[];
  netDevices?: { hostInterfaceName: string; name: string }[];
}

interface CdiSpec {
  kind: string;
  devices: { name: string; containerEdits?: CdiEdits }[];
  containerEdits?: CdiEdits;
}

/** Edits by qualified name, with those that every device of the spec shares. */
export interface CdiRegistry {
  devices: ReadonlyMap<string, CdiEdits>;
  shared: ReadonlyMap<string, CdiEdits | undefined>;
  errors: readonly string[];
}

const isSpec = (value: unknown): value is CdiSpec => {
  const spec = value as CdiSpec | null;
  return typeof spec?.kind === 'string' && /^[^/]+\/[^/=]+$/.test(spec.kind) && Array.isArray(spec.devices);
};

/** Numbers as Go's reader of YAML takes them: a mode may be written as 0660. */
async function parse(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8');
  if (path.endsWith('.json')) return JSON.parse(text);
  const { load, YAML11_SCHEMA } = await import('js-yaml');
  return load(text, { schema: YAML11_SCHEMA });
}

function namesIn(directory: string): string[] {
  // Most hosts have no such directory, and an exception costs more than the look.
  if (!existsSync(directory)) return [];
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

const filesIn = (directories: readonly string[]): string[] =>
  directories.flatMap((directory) =>
    namesIn(directory)
      .filter((file) => /\.(json|ya?ml)$/.test(file))
      .map((name) => join(directory, name)),
  );

const state = (path: string): string => {
  const { mtimeMs, size, ino } = statSync(path, { throwIfNoEntry: false }) ?? {};
  return [path, ino, size, mtimeMs].join();
};

/** Later directories win over earlier ones. What cannot be read is reported and left out. */
async function readFiles(files: readonly string[]): Promise<CdiRegistry> {
  const devices = new Map<string, CdiEdits>();
  const shared = new Map<string, CdiEdits | undefined>();
  const errors: string[] = [];
  for (const path of files) {
    try {
      const spec = await parse(path);
      if (!isSpec(spec)) throw new Error('it is no CDI spec');
      for (const device of spec.devices) {
        const qualified = `${spec.kind}=${device.name}`;
        devices.set(qualified, device.containerEdits ?? {});
        shared.set(qualified, spec.containerEdits);
      }
    } catch (error) {
      errors.push(`${path}: ${(error as Error).message}`);
    }
  }
  return { devices, shared, errors };
}

let last: { key: string; registry: Promise<CdiRegistry> } | undefined;

/** Reads the files again only when one of them has changed. */
export function readCdiRegistry(directories: readonly string[]): Promise<CdiRegistry> {
  const files = filesIn(directories);
  const key = files.map(state).join('\n');
  if (last?.key !== key) last = { key, registry: readFiles(files) };
  return last.registry;
}

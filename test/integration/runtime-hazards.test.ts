/** What a shim and the kernel do to us: see "Hazards" in docs. Real shims, real runc. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Runtime, Task, TaskSpec } from '../../src/runtime/port.ts';
import { createShimRuntime } from '../../src/runtime/shim/runtime.ts';
import { busyboxRoot, makeBundle, ociProcess } from '../support/bundle.ts';
import { eventually } from '../support/eventually.ts';

describe('the shim runtime', () => {
  let root: string;
  let lower: string;
  let runtime: Runtime;
  const log = pino({ level: process.env.LOG ?? 'silent' });
  const open = (config = defaultConfig, deadlines = {}, directory = 'run') =>
    createShimRuntime({ config, log, clock: systemClock, directory: join(root, directory), deadlines });
  const bundle = (script: string, options: Parameters<typeof makeBundle>[3] = {}) =>
    makeBundle(root, lower, script, options);
  const started = async (spec: TaskSpec): Promise<Task> => {
    const task = await runtime.create(spec);
    await task.start();
    return task;
  };
  const shimPids = (): number[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`-address\0${join(root, 'run')}\0`);
        } catch {
          return false;
        }
      })
      .map(Number);
  const mounted = (spec: TaskSpec): boolean => readFileSync('/proc/self/mountinfo', 'utf8').includes(spec.bundle);
  const text = async (task: { io: Task['io'] }): Promise<string> => {
    const chunks: Buffer[] = [];
    for await (const chunk of task.io.stdout) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  };

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'rt-'));
    lower = await busyboxRoot(join(root, 'busybox'));
    runtime = await open();
  });
  afterAll(async () => {
    for (const id of await runtime.list()) await runtime.cleanup(id, join(root, id));
    await runtime.close();
    await eventually(() => !shimPids().length);
    await rm(root, { recursive: true });
  });

  it('serves several containers with one shim, and ends all of them, cleared away, when that shim is killed', async () => {
    const specs = [await bundle('sleep 1000'), await bundle('sleep 1000')];
    const tasks = [await started(specs[0]!), await started(specs[1]!)];
    expect(shimPids()).toHaveLength(1);
    const exec = await tasks[0]!.exec({
      execId: 'e',
      process: ociProcess('sleep 1000'),
      terminal: false,
      stdin: false,
    });
    await exec.start();
    process.kill(shimPids()[0]!, 'SIGKILL');
    for (const ended of [...tasks, exec])
      expect(await ended.exited).toMatchObject({ exitCode: 137, synthesised: true });
    for (const [index, task] of tasks.entries()) {
      expect(existsSync(`/proc/${task.pid}/root/bin`)).toBe(false);
      expect(mounted(specs[index]!)).toBe(false);
      await task.delete();
      await text(task);
    }
    expect(await runtime.list()).toEqual([]);
    const next = await started(await bundle('exit 4'));
    expect((await next.exited).exitCode).toBe(4);
    await next.delete();
  });

  it('starts many at once with few shims, and ends those when they are empty', async () => {
    const specs = await Promise.all(Array.from({ length: 10 }, () => bundle('exit 2')));
    const tasks = await Promise.all(specs.map(started));
    expect(shimPids().length).toBeLessThanOrEqual(2 * availableParallelism());
    for (const task of tasks) {
      expect((await task.exited).exitCode).toBe(2);
      await task.delete();
    }
    await eventually(() => shimPids().length <= 1);
    expect(await runtime.list()).toEqual([]);
  });

  it('runs many execs at once, each with its own exit, and keeps no descriptor of them', async () => {
    const task = await started(await bundle('sleep 1000'));
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    const one = async (number: number): Promise<void> => {
      const spec = { execId: `e${number}`, terminal: false, stdin: number % 2 === 0 };
      const exec = await task.exec({ ...spec, process: ociProcess(`echo ${number}; exit ${number}`) });
      const output = text(exec);
      exec.io.stderr!.resume();
      await exec.start();
      expect((await exec.exited).exitCode).toBe(number);
      await exec.delete();
      expect(await output).toBe(`${number}\n`);
    };
    await Promise.all(Array.from({ length: 20 }, (_, number) => one(number)));
    const broken = await task.exec({
      execId: 'broken',
      process: { ...ociProcess(''), args: ['/nope'] },
      terminal: false,
      stdin: false,
    });
    await expect(broken.start()).rejects.toThrow(/exec: "\/nope": stat \/nope: no such file or directory/);
    expect(await broken.exited).toMatchObject({ exitCode: 128, synthesised: true });
    await broken.delete();
    broken.io.stdout.resume();
    broken.io.stderr!.resume();
    await eventually(() => descriptors() <= before);
    await task.kill(9);
    await task.exited;
    await task.delete();
  });

  it('knows by the kernel that a process was killed, when nobody answers to the kill', async () => {
    const path = join(root, 'lingers');
    // It does its work, and never comes back.
    const script = `#!/bin/sh\ncase " $* " in *" kill "*) runc "$@"; exec sleep 1000 ;; *) exec runc "$@" ;; esac\n`;
    await writeFile(path, script);
    await chmod(path, 0o755);
    const config = { ...defaultConfig, runtimes: { ...defaultConfig.runtimes, lingers: { path } } };
    const slow = await open(config, { kill: 1500 }, 'lingering');
    const task = await slow.create({ ...(await bundle('sleep 1000')), runtime: 'lingers' });
    await task.start();
    await task.kill(9);
    expect((await task.exited).exitCode).toBe(137);
    await task.delete();
    await slow.close();
  });

  it('gives a terminal its size, its bytes raw, and no stderr', async () => {
    const task = await runtime.create(
      await bundle('read line; stty size; echo "$line" >&2', { terminal: true, stdin: true }),
    );
    expect(task.io.stderr).toBeUndefined();
    const output = text(task);
    await task.start();
    await task.resize({ width: 123, height: 45 });
    task.io.stdin!.write('hello\n');
    expect((await task.exited).exitCode).toBe(0);
    await task.delete();
    expect(await output).toBe('hello\r\n45 123\r\nhello\r\n');
  });

  it('tells of a kill for memory before the exit it causes is handled', async () => {
    const task = await runtime.create(await bundle('sleep 0.2; tail /dev/zero', { memory: 16 << 20 }));
    const oom = new Promise<void>((resolve) => task.onOom(resolve));
    await task.start();
    await oom;
    expect((await task.exited).exitCode).toBe(137);
    await task.delete();
  });

  it('keeps what a container writes while nobody reads, and gives it to the next daemon without a gap', async () => {
    const spec = await bundle('seq 1 20000; read end; exit 9', { stdin: true });
    const program = `
      const { createShimRuntime } = await import('${join(import.meta.dirname, '../../src/runtime/shim/runtime.ts')}');
      const { defaultConfig } = await import('${join(import.meta.dirname, '../../src/config/defaults.ts')}');
      const { systemClock } = await import('${join(import.meta.dirname, '../../src/lib/clock.ts')}');
      const { default: pino } = await import('pino');
      const log = pino({ level: 'silent' });
      const runtime = await createShimRuntime({ config: defaultConfig, log, clock: systemClock, directory: '${join(root, 'run')}' });
      const task = await runtime.create(${JSON.stringify(spec)});
      task.io.stdout.pause();
      await task.start();
      console.log('started');
      setInterval(() => {}, 1000);`;
    await runtime.close();
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: join(import.meta.dirname, '../..'),
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGKILL');
    await ended;
    runtime = await open();
    const probe = await runtime.probe(spec);
    if (!probe.found) throw new Error('the container was lost');
    expect(probe.status).toBe('running');
    const output = text(probe.task);
    probe.task.io.stdin!.write('end\n');
    expect((await probe.task.exited).exitCode).toBe(9);
    await probe.task.delete();
    const lines = (await output).split('\n').slice(0, -1).map(Number);
    expect(lines.at(-1)).toBe(20000);
    // What the dead daemon had read is lost with it, maybe within a line; after that there is no gap.
    expect(lines.slice(2).every((line, index) => line === lines[index + 1]! + 1)).toBe(true);
  });

  it('says in dockerd’s words why a container cannot start, and leaves nothing of it', async () => {
    const spec = await bundle('');
    const config = JSON.parse(readFileSync(join(spec.bundle, 'config.json'), 'utf8'));
    config.process.args = ['nonesuch'];
    await writeFile(join(spec.bundle, 'config.json'), JSON.stringify(config));
    await expect(runtime.create(spec)).rejects.toThrow(
      'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: ' +
        'unable to start container process: exec: "nonesuch": executable file not found in $PATH: unknown',
    );
    expect(mounted(spec)).toBe(false);
    expect(await runtime.list()).toEqual([]);
  });

  it('gives a runtime that hangs its deadline, and takes everything back', async () => {
    const hanging = join(root, 'hanging-runc');
    await writeFile(hanging, `#!/bin/sh\ncase "$*" in *" create "*) exec sleep 1000;; esac\nexec runc "$@"\n`);
    await chmod(hanging, 0o755);
    const config = { ...defaultConfig, runtimes: { runc: { path: hanging } } };
    const slow = await open(config, { create: 1_500 }, 'slow');
    const spec = await bundle('exit 0');
    await expect(slow.create(spec)).rejects.toThrow();
    expect(await slow.list()).toEqual([]);
    expect(mounted(spec)).toBe(false);
    await slow.close();
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { loadConfig, parseCommandLine, reloaded } from '../../src/config/load.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'config-'));
  file = join(directory, 'daemon.json');
  writeFileSync(file, '{}');
});
afterEach(() => rmSync(directory, { recursive: true }));

const load = (...args: string[]) => loadConfig(parseCommandLine(['--config-file', file, ...args]));

describe('the configuration', () => {
  it('takes dockerd’s flags, long and short, with = and without', () => {
    const config = load(
      '-H',
      'unix:///a.sock',
      '--host=tcp://127.0.0.1:2375',
      '-D',
      '--bip',
      '10.9.0.1/24',
      '--icc=false',
    );
    expect(config.hosts).toEqual(['unix:///a.sock', 'tcp://127.0.0.1:2375']);
    expect(config).toMatchObject({ debug: true, logLevel: 'debug', bip: '10.9.0.1/24', icc: false });
  });

  it('keeps dockerd’s defaults where nothing is said', () => {
    expect(load()).toMatchObject({ hosts: defaultConfig.hosts, maxConcurrentDownloads: 3, logDriver: 'json-file' });
  });

  it('adds runtimes beside runc and refuses a default that is none of them', () => {
    expect(load('--add-runtime', 'crun=/usr/bin/crun').runtimes).toMatchObject({
      runc: { path: 'runc' },
      crun: { path: '/usr/bin/crun' },
    });
    expect(() => load('--default-runtime', 'nope')).toThrow("specified default runtime 'nope' does not exist");
  });

  it.each([
    [['--nope'], 'unknown flag: --nope'],
    [['-debug'], 'unknown flag: -debug'],
    [['stray'], 'unexpected argument: stray'],
    [['--mtu'], 'flag needs an argument: --mtu'],
    [['--mtu', 'big'], 'invalid value "big" for --mtu'],
    [['--bip', '10.0.0.1'], 'CIDR'],
    [['-H', 'http://x'], 'unix:///path, tcp://host:port or fd://'],
    [['--log-level', 'loud'], 'one of trace, debug'],
    [['--tlsverify'], '--tlscacert'],
  ])('refuses %j in one clear line', (args, message) => {
    expect(() => load(...args)).toThrow(message);
  });

  it('reads daemon.json', () => {
    writeFileSync(
      file,
      JSON.stringify({
        'registry-mirrors': ['https://m'],
        'default-ulimits': { nofile: { Name: 'nofile', Hard: 9, Soft: 8 } },
        'log-opts': { 'max-size': '10m' },
      }),
    );
    expect(load()).toMatchObject({
      registryMirrors: ['https://m'],
      defaultUlimits: { nofile: { Hard: 9, Soft: 8 } },
      logOpts: { 'max-size': '10m' },
    });
  });

  it.each([
    ['{', 'unable to configure the daemon with file'],
    ['[]', 'it is not an object'],
    ['{"colour": 1, "size": 2}', "don't match any configuration option: colour, size"],
    ['{"storage-driver": "zfs"}', 'storage-driver is not supported'],
    ['{"mtu": "x"}', 'for mtu'],
  ])('names what is wrong in %s', (text, message) => {
    writeFileSync(file, text);
    expect(() => load()).toThrow(message);
  });

  it('refuses a setting that stands in both places', () => {
    writeFileSync(file, '{"mtu": 1400}');
    expect(() => load('--mtu', '1300')).toThrow('specified both as a flag and in the configuration file: mtu');
  });

  it('changes only live keys on a reload', () => {
    const next = reloaded(load(), load('--mtu', '1300', '--max-concurrent-downloads', '9'));
    expect(next).toMatchObject({ mtu: 1500, maxConcurrentDownloads: 9 });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(load())).toBe(true);
  });
});

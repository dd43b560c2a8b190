/** Texts that people and strangers write: Dockerfiles, references, ports, mounts, options, headers. */
import fc from 'fast-check';
import { parseFilters } from '../../src/api/filters.ts';
import { parseGit } from '../../src/build/fetch.ts';
import { parseExpression } from '../../src/build/dockerfile/instructions.ts';
import { parseDockerfile } from '../../src/build/dockerfile/parse.ts';
import { expandText, expandToWords, expandWord } from '../../src/build/dockerfile/words.ts';
import { parseMount as parseRunMount } from '../../src/build/mounts.ts';
import { compileGlob, PathMatcher, readIgnoreFile } from '../../src/build/patterns.ts';
import { parseLink } from '../../src/container/links.ts';
import { parsePlatform } from '../../src/image/manifest.ts';
import { canonical, familiar, parseReference } from '../../src/image/reference.ts';
import { parseChallenges } from '../../src/image/registry/challenge.ts';
import { domainOf } from '../../src/image/registry/login.ts';
import { durationOption, fileOptions, modeOptions } from '../../src/logs/options.ts';
import { fluentdAddress } from '../../src/logs/remote/fluentd.ts';
import { gelfAddress } from '../../src/logs/remote/gelf.ts';
import { syslogAddress, syslogFacility, syslogFormat } from '../../src/logs/remote/syslog.ts';
import { addressOfReverse } from '../../src/network/dns/answer.ts';
import { parsePort, portWishes } from '../../src/network/ports.ts';
import { parseSeccompProfile, resolveSeccomp } from '../../src/runtime/oci/seccomp.ts';
import { resolveUser } from '../../src/runtime/oci/user.ts';
import { parseSignal } from '../../src/runtime/oci/validate-config.ts';
import { parseDetachKeys } from '../../src/streams/detach-keys.ts';
import { localMount, validateLocalOptions } from '../../src/volume/local-options.ts';
import { parseBind, parseVolumesFrom, planMounts } from '../../src/volume/mounts.ts';
import { refusing, type Target, words } from './target.ts';

const dockerfile = words(
  ...[
    'FROM ',
    'busybox',
    ' AS a',
    '\n',
    '\nRUN ',
    '\nCOPY ',
    '--from=a ',
    '--chown=',
    '\nADD ',
    '\nENV ',
    'A=b ',
    '\nARG X',
    '\nLABEL ',
    '\nVOLUME ',
  ],
  ...[
    '\nHEALTHCHECK ',
    '--interval=1s ',
    'CMD ',
    '\nONBUILD ',
    '\nSHELL ',
    '["a", "b"]',
    '\nEXPOSE ',
    '80/tcp ',
    '\nUSER ',
    '\nWORKDIR ',
    '\nSTOPSIGNAL ',
  ],
  ...[
    '<<EOF\n',
    '<<-"E O"\n',
    'EOF\n',
    '\\\n',
    '# escape=`\n',
    '# syntax=x\n',
    '#c\n',
    '${X:-y}',
    '$X',
    '"',
    "'",
    '--mount=type=cache,target=/c ',
    '\r\n',
    '\t',
    ' ',
  ],
);

const variable = words(
  '${',
  '}',
  'X',
  ':-',
  ':+',
  '-',
  '+',
  '?',
  '#',
  '##',
  '%',
  '%%',
  '/',
  '//',
  '*',
  'a',
  'aa',
  '"',
  "'",
  '$',
  '\\',
  ' ',
);
const pattern = words('*', '**', '**/', '/', '?', '[', ']', 'a', 'aa', '[a-', '[^a]', '\\', '!', '.', '..', '\n', '#');
const reference = words(
  'busybox',
  'docker.io/',
  'library/',
  'localhost:5000/',
  ':tag',
  '@sha256:',
  'ab'.repeat(32),
  '/',
  '..',
  ':',
  '@',
  'A',
  '_',
  '__',
  '.',
  '-',
  '[::1]:5/',
);
const port = words('80', '8080', '-', '/', 'tcp', 'udp', 'sctp', ':', '127.0.0.1', '[::1]', '65535', '65536', ' ');
const bind = words('/', 'a', ':', 'ro', 'rw', 'z', 'Z', 'rshared', 'nocopy', ',', '..', '/..', 'name', '//', ' ');
const option = words(
  'type=',
  'bind',
  'cache',
  'secret',
  'ssh',
  'tmpfs',
  ',',
  'target=',
  'source=',
  'from=',
  'id=',
  'size=1k',
  'ro',
  'rw=',
  'true',
  'mode=0777',
  'uid=',
  'sharing=locked',
  '"',
  '/',
  '=',
  'env=',
);
const json = words(
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '"a"',
  '"label"',
  '"names"',
  'true',
  'null',
  '1',
  '"syscalls"',
  '"action"',
  '"__proto__"',
);
const header = words(
  'Bearer ',
  'Basic ',
  'realm=',
  'scope=',
  'service=',
  '"',
  ',',
  '=',
  'https://a/b',
  '\\',
  ' ',
  'error="x"',
);
const address = words(
  'tcp://',
  'udp://',
  'unix://',
  'unixgram://',
  'tcp+tls://',
  '/',
  'a',
  ':',
  '1',
  '99999',
  '[::1]',
  '@',
  '?',
  '#',
  ' ',
  'daemon',
  'rfc5424',
);
const passwd = words('root', ':', 'x', '0', '33', '\n', 'www', ',', '#', '+', '/', '2147483648');
const user = words('root', 'www', ':', '0', '33', '-', '+', '2147483648', '/');

/** A long text over few letters, on which a pattern that backtracks would never end. */
const long = fc
  .tuple(fc.constantFrom('a', 'aa/', '/', 'ab'), fc.integer({ min: 0, max: 60 }))
  .map(([text, n]) => `${text.repeat(n)}b`);

const lookup = (name: string): string | undefined => (name === 'X' ? 'aaaaaaaaaaaaaaaaaaaaaaaaaaaab' : undefined);

export const textTargets: Target[] = [
  { name: 'dockerfile', input: dockerfile, run: (text: string) => refusing(() => parseDockerfile(text)) },
  { name: 'change', input: dockerfile, run: (text: string) => refusing(() => parseExpression(text)) },
  {
    name: 'words',
    input: variable,
    run(text: string) {
      for (const escape of ['\\', '`'])
        for (const expand of [expandWord, expandText, expandToWords]) refusing(() => expand(text, escape, lookup));
    },
  },
  {
    name: 'pattern',
    input: fc.tuple(pattern, long),
    run([text, path]: [string, string]) {
      refusing(() => compileGlob(text).test(path));
      refusing(() => new PathMatcher(readIgnoreFile(text)).matches(path));
    },
  },
  {
    name: 'reference',
    input: reference,
    run(text: string) {
      const parsed = refusing(() => parseReference(text));
      if (!parsed) return;
      // The short form of an image named like an id is read as an id.
      const short = familiar(parsed);
      for (const written of /^[0-9a-f]{64}/.test(short) ? [canonical(parsed)] : [canonical(parsed), short])
        if (canonical(parseReference(written)) !== canonical(parsed)) throw new Error(`${text} is read as ${written}`);
      if (canonical(parsed).split('/').includes('..')) throw new Error(`${text} goes upwards`);
    },
  },
  {
    name: 'port',
    input: fc.tuple(port, port, port),
    run([text, host, ip]: [string, string, string]) {
      refusing(() => parsePort(text));
      refusing(() =>
        portWishes({
          portBindings: { [text]: [{ HostPort: host, HostIp: ip }], '80/tcp': [{ HostPort: host, HostIp: ip }] },
          publishAll: true,
          exposedPorts: [text],
        }),
      );
    },
  },
  {
    name: 'mount',
    input: fc.tuple(bind, bind),
    run([text, other]: [string, string]) {
      const point = refusing(() => parseBind(text));
      if (point && (!point.destination.startsWith('/') || point.destination === '/'))
        throw new Error(`mounts over ${point.destination}`);
      refusing(() => parseVolumesFrom(text));
      refusing(
        () =>
          planMounts({
            binds: [text],
            mounts: [{ Type: 'bind', Source: text, Target: other }],
            tmpfs: { [other]: text },
            volumeDriver: '',
            volumes: { [other]: {} },
            inherited: [],
          }),
        ['invalid', 'conflict'],
      );
      refusing(() => parseLink(text));
    },
  },
  { name: 'run-mount', input: option, run: (text: string) => refusing(() => parseRunMount(text, (value) => value)) },
  { name: 'filters', input: json, run: (text: string) => refusing(() => parseFilters(text, ['label', 'names'])) },
  {
    name: 'seccomp',
    input: json,
    run: (text: string) =>
      refusing(() =>
        resolveSeccomp(parseSeccompProfile(text), { architecture: 'amd64', kernelVersion: '6.1.0', capabilities: [] }),
      ),
  },
  { name: 'challenge', input: header, run: (text: string) => parseChallenges(text) },
  {
    name: 'user',
    input: fc.tuple(user, fc.array(user, { maxLength: 3 }), passwd),
    run([spec, groups, text]: [string, string[], string]) {
      const found = refusing(() => resolveUser(spec, groups, () => text));
      if (found)
        for (const id of [found.uid, found.gid, ...found.additionalGids])
          if (!(id >= 0 && id <= 2 ** 31 - 1)) throw new Error(`id ${id}`);
    },
  },
  {
    name: 'address',
    input: address,
    run(text: string) {
      for (const parse of [syslogAddress, syslogFacility, syslogFormat, gelfAddress, fluentdAddress, domainOf])
        refusing(() => parse(text));
      refusing(() => parseGit(text));
      addressOfReverse(text);
    },
  },
  {
    name: 'small',
    input: fc.tuple(
      fc.constantFrom('max-size', 'max-file', 'compress', 'mode', 'max-buffer-size', 'x'),
      words(
        '1',
        'k',
        'm',
        'g',
        '-',
        '.',
        's',
        'ms',
        'h',
        'true',
        'ctrl-',
        'a',
        ',',
        'SIG',
        'TERM',
        'linux',
        '/',
        'arm64',
        'v8',
        'non-blocking',
      ),
    ),
    run([name, text]: [string, string]) {
      const options = { [name]: text };
      refusing(() => durationOption(options, name, 0));
      refusing(() => fileOptions(options, { maxSize: 1, maxFiles: 2, compress: false }));
      refusing(() => modeOptions(options));
      refusing(() => parseDetachKeys(text));
      refusing(() => parseSignal(text));
      refusing(() => parsePlatform(text, { os: 'linux', architecture: 'amd64' }));
    },
  },
  {
    name: 'local-volume',
    input: fc.dictionary(
      fc.constantFrom('type', 'o', 'device', 'size', 'x'),
      words('tmpfs', 'nfs', 'bind', 'addr=', ',', '/', ':', 'size=1m', 'password=x', 'rw'),
    ),
    run: (options: Record<string, string>) =>
      refusing(() => {
        validateLocalOptions(options);
        localMount(options);
      }),
  },
];

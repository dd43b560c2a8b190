/** `npm run quickstart`: a daemon, an image, containers, events and a statechart's path, told as it goes. */
import { execFileSync, spawnSync } from 'node:child_process';
import { startDaemon } from '../test/support/daemon.ts';

const say = (text: string): void => console.log(`\n\x1b[1m${text}\x1b[0m`);
const fail = (text: string): never => {
  console.error(`quickstart: ${text}`);
  process.exit(1);
};

if (process.getuid?.() !== 0) fail('containers need root; run it with sudo');
if (spawnSync('docker', ['--version']).status !== 0) fail('the docker CLI is not installed');

say(
  '1. Starting reactord on a socket of its own, in its own network namespace, with a loopback registry and an image made from busybox',
);
const daemon = await startDaemon();
const docker = (...args: string[]): string => {
  console.log(`$ docker ${args.join(' ')}`);
  const output = daemon.ok(...args);
  if (output) console.log(output);
  return output;
};

try {
  console.log(`   socket ${daemon.socket}, data in ${daemon.dataRoot}`);
  docker('version', '--format', 'client {{.Client.Version}}, server {{.Server.Version}}, API {{.Server.APIVersion}}');
  docker('tag', daemon.image, 'busybox:latest');
  docker('images');

  say('2. A container in the foreground, with its exit code');
  docker('run', '--rm', 'busybox', 'echo', 'hello from a container');
  const seven = daemon.docker('run', '--rm', 'busybox', 'sh', '-c', 'exit 7');
  console.log(`$ docker run --rm busybox sh -c 'exit 7'\nexit code ${seven.code}`);
  if (seven.code !== 7) fail(`expected 7, got ${seven.code}`);

  say('3. A web server on a published port');
  docker(
    'run',
    '-d',
    '--name',
    'web',
    '-p',
    '8080:80',
    'busybox',
    'sh',
    '-c',
    'mkdir -p /www && echo "served by a container" > /www/index.html && exec httpd -f -p 80 -h /www',
  );
  const page = daemon.inside(
    'curl',
    '-s',
    '--retry',
    '20',
    '--retry-delay',
    '0',
    '--retry-all-errors',
    'http://127.0.0.1:8080/',
  );
  console.log(`$ curl http://127.0.0.1:8080/\n${page.stdout.trim()}`);
  if (!page.stdout.includes('served by a container')) fail('the page did not come');
  docker('exec', 'web', 'ps');
  docker('logs', 'web');
  docker('stop', '-t', '1', 'web');

  say('4. What happened, from the daemon’s journal');
  const seconds = String(Math.ceil(Date.now() / 1000));
  docker(
    'events',
    '--since',
    '10m',
    '--until',
    seconds,
    '--filter',
    'container=web',
    '--format',
    '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}',
  );

  say('5. The path that container took through its statechart');
  const id = daemon.ok('inspect', '--format', '{{.Id}}', 'web');
  const history = await daemon.api<{ data: { from: string; to: string }; action: string }[]>(
    'GET',
    `/reactord/actors/container/${id}/history?topics=transition`,
  );
  for (const fact of history.json) console.log(`   ${fact.data.from || '(new)'} ─ ${fact.action} ▶ ${fact.data.to}`);
  if (!history.json.length) fail('no transitions were recorded');
  docker('rm', 'web');
} finally {
  say('6. Stopping the daemon and cleaning up');
  await daemon.stop();
}
const left = execFileSync('sh', ['-c', `grep -c ${daemon.directory} /proc/self/mounts || true`], {
  encoding: 'utf8',
}).trim();
if (left !== '0') fail(`${left} mounts were left`);
console.log(`The machine is as it was.

Where to go next:
  bin/reactord -H unix:///run/my.sock --data-root /var/lib/mine   your own daemon; then DOCKER_HOST=unix:///run/my.sock docker …
  bin/reactord ui                                                 the live view of its statecharts
  npm test                                                        every suite
  examples/README.md                                              clients in TypeScript, Python and curl`);

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

/** nginx with what its binary needs; dpkg's own scripts are not run, so nothing else is. */
const PACKAGES = [
  'nginx',
  'nginx-common',
  'libc6',
  'libcrypt1',
  'libpcre2-8-0',
  'libssl3',
  'zlib1g',
  'base-files',
  'mime-support',
  'media-types',
];

const DOCKERFILE = `ARG BASE
FROM \${BASE} AS site
RUN mkdir -p /site && echo 'served by nginx' > /site/index.html
FROM scratch
ADD *.tar /
COPY --from=site /bin /bin
COPY --from=site /site /var/www/html
COPY nginx.conf /etc/nginx/nginx.conf
RUN mkdir -p /var/log/nginx /var/lib/nginx && echo 'root:x:0:0:root:/:/bin/sh' > /etc/passwd && echo 'root:x:0:' > /etc/group
RUN ["/usr/sbin/nginx", "-t"]
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["/usr/sbin/nginx", "-g", "daemon off;"]
`;

const CONFIGURATION = `user root;
error_log /dev/stderr;
events {}
http {
  access_log /dev/stdout;
  server { listen 80; root /var/www/html; }
}
`;

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon?.stop());

it('builds an image with nginx from Debian packages, and it serves a page', async () => {
  const context = join(daemon.directory, 'nginx');
  mkdirSync(join(context, 'debs'), { recursive: true });
  execFileSync('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-qq', ...PACKAGES], {
    cwd: join(context, 'debs'),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  for (const deb of readdirSync(join(context, 'debs')))
    execFileSync('sh', ['-c', `dpkg-deb --fsys-tarfile debs/${deb} > ${deb.split('_')[0]}.tar`], { cwd: context });
  writeFileSync(join(context, '.dockerignore'), 'debs\n');
  writeFileSync(join(context, 'Dockerfile'), DOCKERFILE);
  writeFileSync(join(context, 'nginx.conf'), CONFIGURATION);
  daemon.ok('build', '-q', '-t', 'web', '--build-arg', `BASE=${daemon.image}`, context);
  daemon.ok('run', '-d', '--name', 'web', '-p', '8080:80', 'web');
  await eventually(() => daemon.inside('curl', '-s', 'http://127.0.0.1:8080/').stdout === 'served by nginx\n', {
    what: 'the page',
  });
  await eventually(() => daemon.ok('logs', 'web').includes('GET / HTTP/1.1'), { what: 'the access log' });
  daemon.ok('stop', 'web');
  expect(daemon.ok('inspect', '-f', '{{.State.ExitCode}}', 'web')).toBe('0');
});

/**
 * `npm run package`: dist/reactord_<version>_<arch>.deb with the bundle and its own Node; needs dpkg-deb and `npm run bundle` before.
 * Tests ask for another --version, --compression (of dpkg-deb) and --out directory.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: wanted } = parseArgs({
  options: {
    version: { type: 'string' },
    compression: { type: 'string', default: 'xz' },
    out: { type: 'string', default: join(import.meta.dirname, '../dist') },
  },
});
const out = resolve(wanted.out);
const root = join(import.meta.dirname, '..');
process.chdir(root);
const { version: own, description } = JSON.parse(readFileSync('package.json', 'utf8'));
const version = wanted.version ?? own;
const cpu = process.arch;
const arch = { x64: 'amd64', arm64: 'arm64' }[cpu];
if (!arch) throw new Error(`no package for ${cpu}`);

const stage = mkdtempSync(join(tmpdir(), 'reactord-deb-'));
const put = (from, to, mode) => {
  mkdirSync(join(stage, to, '..'), { recursive: true });
  cpSync(from, join(stage, to), { recursive: true, dereference: true });
  if (mode) chmodSync(join(stage, to), mode);
};
try {
  put('dist', 'usr/lib/reactord/dist');
  execFileSync('sh', ['-c', `rm -f ${stage}/usr/lib/reactord/dist/*.deb`]);
  put(`node_modules/node-linux-${cpu}/bin/node`, 'usr/lib/reactord/bin/node', 0o755);
  // What the bundle leaves outside, and the native part for this machine only.
  for (const name of ['koffi', 'piscina']) put(`node_modules/${name}`, `usr/lib/reactord/node_modules/${name}`);
  put(`node_modules/@koromix/koffi-linux-${cpu}`, `usr/lib/reactord/node_modules/@koromix/koffi-linux-${cpu}`);
  writeFileSync(
    join(stage, 'usr/lib/reactord/bin/reactord'),
    '#!/bin/sh\nexec /usr/lib/reactord/bin/node --disable-warning=ExperimentalWarning /usr/lib/reactord/dist/main.mjs "$@"\n',
    { mode: 0o755 },
  );
  mkdirSync(join(stage, 'usr/bin'), { recursive: true });
  execFileSync('ln', ['-s', '../lib/reactord/bin/reactord', join(stage, 'usr/bin/reactord')]);
  for (const unit of ['reactord.service', 'reactord.socket'])
    put(`packaging/systemd/${unit}`, `usr/lib/systemd/system/${unit}`, 0o644);
  for (const script of ['postinst', 'prerm', 'postrm']) put(`packaging/debian/${script}`, `DEBIAN/${script}`, 0o755);
  writeFileSync(
    join(stage, 'DEBIAN/control'),
    [
      'Package: reactord',
      `Version: ${version}`,
      `Architecture: ${arch}`,
      'Maintainer: reactord maintainers <maintainers@reactord.invalid>',
      // Node needs the first four.
      'Depends: libc6 (>= 2.28), libstdc++6 (>= 8), libgcc-s1, libatomic1, runc, containerd | containerd.io, iproute2, nftables, util-linux, procps',
      'Recommends: docker-cli | docker.io, git, xz-utils, tini, conntrack',
      'Section: admin',
      'Priority: optional',
      `Description: ${description}`,
      ' Serves the Docker Engine API with every container, image transfer, build,',
      ' network and volume as a statechart that can be watched and explained.',
      '',
    ].join('\n'),
  );
  const file = join(out, `reactord_${version}_${arch}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', `-Z${wanted.compression}`, '--build', stage, file], {
    stdio: 'inherit',
  });
  console.log(file);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

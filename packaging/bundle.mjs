/** Bundles the daemon and its worker threads into dist/, skipped when nothing changed since the last time. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
process.chdir(root);

/** Worker threads are entries of their own: src/**\/worker.ts and *-worker.ts. */
const workers = globSync('src/**/{worker,*-worker}.ts').sort();
const inputs = [...globSync('src/**/*').sort(), 'package-lock.json', 'packaging/bundle.mjs'];
const hash = createHash('sha256');
for (const input of inputs) {
  try {
    hash.update(input).update(readFileSync(input));
  } catch (error) {
    if (error.code !== 'EISDIR') throw error;
  }
}
const version = hash.digest('hex');
const stamp = 'dist/.stamp';
if (existsSync(stamp) && readFileSync(stamp, 'utf8') === version) process.exit(0);

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist', { recursive: true });
const names = workers.map((path) =>
  path
    .replace(/^src\//, '')
    .replaceAll('/', '-')
    .replace(/\.ts$/, ''),
);
await build({
  entryPoints: [{ in: 'src/main.ts', out: 'main' }, ...workers.map((path, i) => ({ in: path, out: names[i] }))],
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: false,
  // These find their native part or their worker's file beside their own package file.
  external: ['koffi', 'piscina'],
  define: { REACTORD_BUNDLED: 'true' },
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
// The visualizer's page: one script, no outside assets.
await build({
  entryPoints: ['src/visualizer/page/page.ts'],
  outfile: 'dist/ui/page.js',
  bundle: true,
  format: 'esm',
  target: 'es2024',
  minify: true,
  // elkjs asks for a worker package that only Node has.
  external: ['web-worker'],
  logLevel: 'warning',
});
for (const asset of globSync('*.{html,css}', { cwd: 'src/visualizer/page' }))
  cpSync(join('src/visualizer/page', asset), join('dist/ui', asset));
writeFileSync(stamp, version);
console.log(`bundle: dist/main.mjs and ${workers.length} worker${workers.length === 1 ? '' : 's'}`);

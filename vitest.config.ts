import { defineConfig } from 'vitest/config';

const project = (name: string, more: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], environment: 'node', pool: 'forks', ...more },
});

/** Real things share the kernel: their files run one after another, with room for a slow machine. */
const real = { fileParallelism: false, testTimeout: 60_000, hookTimeout: 120_000, retry: process.env.CI ? 2 : 0 };

export default defineConfig({
  test: {
    projects: [
      project('unit'),
      project('contract', real),
      project('api'),
      project('integration', real),
      project('clients', real),
      project('drills', { ...real, testTimeout: 120_000 }),
      project('browser', real),
    ],
  },
});

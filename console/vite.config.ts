import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [svelte()],
  base: './',
  build: {
    target: 'es2022',
    // The policy of the page allows no inline script and no data but images: everything is a file of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
    // What the bundle holds of others comes with their terms.
    license: { fileName: 'licenses.txt' },
  },
  test: { include: ['src/**/*.test.ts'] },
});

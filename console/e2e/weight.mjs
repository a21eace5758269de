// Says what the page weighs, packed as it is sent, and fails above the bound.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const MOST = 150_000;

const folder = process.argv[2] ?? 'dist';
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => statSync(join(folder, file)).isFile());
const weight = files.reduce((sum, file) => sum + gzipSync(readFileSync(join(folder, file)), { level: 9 }).length, 0);
console.log(`console: ${files.length} files, ${(weight / 1000).toFixed(1)} kB packed with gzip, of ${MOST / 1000} kB at most`);
process.exitCode = weight > MOST ? 1 : 0;

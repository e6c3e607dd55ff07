/**
 * Writes openapi.json from the built service, without a database; with --check, only says whether the file is
 * up to date. Runs after a build (`npm run openapi`, `npm run openapi:check`).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath, URL } from 'node:url';
import { renderOpenApiFile } from '../dist/bootstrap/openapi/openapi-file.js';

const path = fileURLToPath(new URL('../openapi.json', import.meta.url));
const wanted = await renderOpenApiFile();
const present = await readFile(path, 'utf8').catch(() => '');

if (wanted === present) {
  console.log('openapi.json is up to date.');
} else if (process.argv.includes('--check')) {
  console.error('openapi.json is out of date: run `npm run openapi` and commit it.');
  process.exitCode = 1;
} else {
  await writeFile(path, wanted);
  console.log('openapi.json is written.');
}

/**
 * `npm run release -- 0.2.0`: gives the section "Next" of CHANGELOG.md its number and date, sets the version of package.json and
 * package-lock.json, commits and tags. Refuses while files are changed, while nothing is noted, and a number that is not the next one.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, URL } from 'node:url';

const file = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const git = (...words) => execFileSync('git', words, { encoding: 'utf8', cwd: file('.') }).trim();
const fail = (reason) => {
  console.error(`${reason} Nothing was changed.`);
  process.exit(1);
};
const numbersIn = (version) => version.split('.').map(Number);

const [version = ''] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(file('package.json'), 'utf8'));
const changes = readFileSync(file('CHANGELOG.md'), 'utf8');
const [, noted = ''] = /^## Next\n([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(changes) ?? [];
const isLater = (next, now) => {
  const index = next.findIndex((number, at) => number !== now[at]);
  return index >= 0 && next[index] > now[index];
};

if (!/^\d+\.\d+\.\d+$/.test(version)) fail('Say which version, such as 0.2.0.');
if (!isLater(numbersIn(version), numbersIn(manifest.version)))
  fail(`${version} is not after ${manifest.version}.`);
if (git('status', '--porcelain') !== '') fail('Commit or remove what is changed first.');
if (noted.trim() === '') fail('CHANGELOG.md notes nothing under "Next".');

const today = new Date().toISOString().slice(0, 10);
writeFileSync(file('CHANGELOG.md'), changes.replace(/^## Next\n/m, `## Next\n\n## ${version}, ${today}\n`));
execFileSync('npm', ['version', version, '--no-git-tag-version'], { cwd: file('.'), stdio: 'ignore' });
git('add', 'CHANGELOG.md', 'package.json', 'package-lock.json');
git('commit', '--quiet', '--message', `Release ${version}`);
git('tag', '--annotate', `v${version}`, '--message', `Coffer ${version}`);
console.log(`Version ${version} is committed and tagged. Publish it: git push --follow-tags`);

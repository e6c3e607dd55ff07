/**
 * Finds words that only this project would use where the field has a common one, in code, comments, logs, messages, docs and test
 * titles (`npm run words:check [-- PATH ...]`). Identifiers are read word by word: `tellCustomer` holds "tell".
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The words to avoid, and what to say instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  'tell|tells|told|telling': 'notify, report, publish, say',
  news: 'event',
  'look again|looks again|looked again': 'check again, recheck, poll',
  'heed|heeds|heeded': 'handle, apply',
  'thaw|thaws|thawed': 'unfreeze',
  'mend|mends|mended|mending': 'repair, fix, recover',
  beside: 'next to, concurrently, in addition to',
  behind: 'after, below',
  anew: 'again',
  meanwhile: 'concurrently, in the meantime',
  'for ever|forever': 'permanently, without end',
  whoever: 'any caller, who',
  nobody: 'no caller, no one',
  stands: 'is',
  gravest: 'most severe',
  undelivered: 'provider failure',
  'door|doors': 'route, entry point',
  'ordinary call|ordinary calls': 'wallet-funded call',
  'pass through|pass-through': 'BYOK',
  'stand in|stand-in|stand ins|stand-ins': 'simulator',
  'claw back|clawed back|claws back': 'reverse credit; a clawback is for disputes only',
  outgoing: 'egress',
  'she|her|hers': 'the customer, they',
};

const PATTERN = new RegExp(`\\b(${Object.keys(INSTEAD).join('|')})\\b`, 'gi');
/** This list itself, and files that others wrote or machines generate. */
const SKIPPED = /^(scripts\/check-words\.ts|openapi\.json|package-lock\.json|catalog\/|migrations\/)/;
const READ = /\.(ts|mjs|cjs|js|md|html|sql)$/;

/** Names and texts that are not Coffer's to choose, or are stored, and ids of tests that no object has. */
const ALLOWED = new RegExp(
  [
    // The Unix user of that name, and `PassThrough` of Node's streams.
    "[`']nobody[`']",
    '\\bPassThrough\\b',
    // Migrations are never edited: a column, the migration that added it with the test of its upgrade, and what a trigger says.
    '\\bowed_beside_micros\\b',
    '\\bowed-beside-(?:reliefs|upgrade)\\b',
    '\\bkept as it was told\\b',
    // `cus_nobody`, `id=nobody`, `nobody/nothing`: parts of an id, a path or a parameter, never a word of a sentence.
    '[_=/]nobody',
    '\\bnobody[_/]',
  ].join('|'),
  'g',
);

export type FoundWord = {
  readonly file: string;
  readonly line: number;
  readonly word: string;
  readonly instead: string;
};

export function findWords(file: string, text: string): FoundWord[] {
  return text.split('\n').flatMap((line, index) =>
    [...asWords(line.replace(ALLOWED, '')).matchAll(PATTERN)].map(([word]) => ({
      file,
      line: index + 1,
      word: word.toLowerCase(),
      instead: insteadOf(word.toLowerCase()),
    })),
  );
}

/** `tellCustomer` and `TELL_CUSTOMER` are two words each. */
function asWords(line: string): string {
  return line.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replaceAll('_', ' ');
}

function insteadOf(word: string): string {
  const [, instead = ''] = Object.entries(INSTEAD).find(([words]) => words.split('|').includes(word)) ?? [];
  return instead;
}

/** Returns every file of the project that people read, or those below the paths. */
export function readableFiles(paths: readonly string[] = []): string[] {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const tracked = execFileSync('git', ['ls-files', '--', ...paths], { cwd: root, encoding: 'utf8' });
  return tracked.split('\n').filter((file) => READ.test(file) && !SKIPPED.test(file));
}

function main(): void {
  const found = readableFiles(process.argv.slice(2)).flatMap((file) =>
    findWords(file, readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')),
  );
  for (const { file, line, word, instead } of found) console.log(`${file}:${line} "${word}": say ${instead}`);
  console.log(found.length === 0 ? 'Every word is plain.' : `${found.length} words to replace.`);
  if (found.length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();

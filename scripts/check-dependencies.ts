/**
 * `npm run dependencies:check`: what package-lock.json says of all that gets installed, and, where the registry answers, what
 * is known against it. The first part needs no network. Ends with 1 and names each fault.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export type LockedPackage = {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly engines?: { readonly node?: string };
};
export type Lock = { readonly packages: Readonly<Record<string, LockedPackage>> };
export type Manifest = {
  readonly allowScripts?: Readonly<Record<string, boolean>>;
  readonly engines?: { readonly node?: string };
};

/** Those that ask for no more than that they are named. An expression needs each of its words here. */
const PERMISSIVE: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MIT-0',
  'Python-2.0',
  'Unlicense',
]);
/** Others, by package and with the reason. */
const FURTHER: readonly (readonly [name: RegExp, license: string])[] = [
  // Shared libraries that are loaded as they are and can be replaced, which is what this license asks for.
  [/^@img\/sharp-/, 'LGPL-3.0-or-later'],
  // Data about browsers, which only our tools read.
  [/^caniuse-lite$/, 'CC-BY-4.0'],
  // Word lists that a developer's spelling check reads; nothing of them is in the product.
  [/^@cspell\/dict-django$/, 'WTFPL'],
  [/^@cspell\/dict-en-common-misspellings$/, 'CC BY-SA 4.0'],
];

/** What is wrong with a lock file; empty when nothing is. */
export function faultsOf({ packages }: Lock, { allowScripts = {}, engines }: Manifest): string[] {
  const oldestNode = versionIn(engines?.node ?? '');
  return Object.entries(packages).flatMap(([path, entry]) => {
    const at = path.lastIndexOf('node_modules/');
    // Our own: the project, and the folders that it links to.
    if (at === -1 || entry.link === true) return [];
    const name = path.slice(at + 'node_modules/'.length);
    const faults: string[] = [];
    if (!/^sha512-/.test(entry.integrity ?? '')) faults.push('has no SHA-512 digest');
    // The lock file names no address: every package comes from npm's configured registry, by its name.
    if (entry.resolved !== undefined) faults.push('comes from an address of its own');
    if (!isAllowed(name, entry.license)) faults.push(`has the license ${entry.license ?? 'none'}`);
    if (entry.hasInstallScript === true && !(name in allowScripts)) {
      faults.push('runs a script when it is installed; say in allowScripts of package.json whether it may');
    }
    const nodes = entry.engines?.node;
    if (nodes !== undefined && oldestNode !== null && !accepts(nodes, oldestNode)) {
      faults.push(
        `wants Node ${nodes}, and ours may be ${oldestNode.join('.')}: npm warns of that; hold it in overrides`,
      );
    }
    return faults.map((fault) => `${name}@${entry.version ?? '?'} ${fault}`);
  });
}

type Version = readonly [major: number, minor: number, patch: number];
const VERSION = /(\d+)(?:\.(\d+|[x*]))?(?:\.(\d+|[x*]))?/;

/** The first version that a text names. */
function versionIn(text: string): Version | null {
  const found = VERSION.exec(text);
  return found === null ? null : [Number(found[1]), Number(found[2]) || 0, Number(found[3]) || 0];
}

/** Whether a range of package.json holds a version. What it does not understand it does not accept. */
function accepts(range: string, version: Version): boolean {
  return range.split('||').some((all) => {
    const words = all
      .replace(/([<>=^~]) +/g, '$1')
      .trim()
      .split(/\s+/);
    return words.every((word) => isWithin(word, version));
  });
}

function isWithin(word: string, version: Version): boolean {
  const [, sign, bound] = /^(>=|<|\^|)v?([\d.x*]+)$/.exec(word) ?? [];
  const than = versionIn(bound ?? '');
  if (bound === undefined || than === null) return false;
  const place = version.findIndex((part, index) => part !== than[index]);
  const difference = place === -1 ? 0 : (version[place] ?? 0) - (than[place] ?? 0);
  if (sign === '>=') return difference >= 0;
  if (sign === '<') return difference < 0;
  if (sign === '^') return difference >= 0 && place !== 0;
  const named = bound.split('.').filter((part) => /\d/.test(part)).length;
  return place === -1 || place >= named;
}

function isAllowed(name: string, license: string | undefined): boolean {
  if (license === undefined) return false;
  const further = FURTHER.filter(([pattern]) => pattern.test(name)).map(([, allowed]) => allowed);
  const words = license.replace(/[()]/g, ' ').split(/\s+(?:AND|OR)\s+/);
  return words.every((word) => PERMISSIVE.has(word.trim()) || further.includes(word.trim()));
}

export type Audit = 'clean' | 'vulnerable' | 'unanswered';

/** What `npm audit --json` printed. A registry that is away, or that takes no audits, proves nothing. */
export function readAudit(printed: string): Audit {
  try {
    const { metadata } = JSON.parse(printed) as {
      metadata?: { vulnerabilities?: Readonly<Record<string, number>> };
    };
    const counts = metadata?.vulnerabilities;
    if (counts === undefined) return 'unanswered';
    const { moderate = 0, high = 0, critical = 0 } = counts;
    return moderate + high + critical > 0 ? 'vulnerable' : 'clean';
  } catch {
    return 'unanswered';
  }
}

const AUDIT_TIMEOUT_MS = 60_000;

function main(): void {
  const read = (file: string): unknown =>
    JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'));
  const lock = read('package-lock.json') as Lock;
  const faults = faultsOf(lock, read('package.json') as Manifest);
  const count = Object.keys(lock.packages).length;
  for (const fault of faults) console.log(`  ${fault}`);
  console.log(`package-lock.json: ${count} packages, ${faults.length} faults.`);
  const audit = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
    timeout: AUDIT_TIMEOUT_MS,
  });
  const verdict = readAudit(audit.stdout);
  if (verdict === 'unanswered') console.log('npm audit: SKIPPED, the registry answers no audits here.');
  else console.log(`npm audit: ${verdict}.`);
  if (verdict === 'vulnerable') spawnSync('npm', ['audit', '--omit=dev'], { stdio: 'inherit' });
  process.exitCode = faults.length > 0 || verdict === 'vulnerable' ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();

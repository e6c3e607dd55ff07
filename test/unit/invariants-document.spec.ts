import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';

const PROJECT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, PROJECT), 'utf8');

const document = read('docs/INVARIANTS.md');
const migrations = readdirSync(new URL('migrations/', PROJECT))
  .map((file) => read(`migrations/${file}`))
  .join('\n');
const named = [...document.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);

describe('docs/INVARIANTS.md', () => {
  it('names only files that exist', () => {
    const paths = named.filter((name) => /^(src|test|docs)\//.test(name));
    expect(paths.filter((path) => !existsSync(new URL(path, PROJECT)))).toEqual([]);
    expect(paths.length).toBeGreaterThan(50);
  });

  it('names only constraints, triggers and indexes that the migrations make', () => {
    const tables = ['transfers', 'wallets', 'credit_lots', 'holds', 'top_ups', 'generations'].join('|');
    const constraints = named.filter((name) => new RegExp(`^(${tables})_[a-z_]+$`).test(name));
    expect(constraints.filter((name) => !new RegExp(`\\b${name}\\b`).test(migrations))).toEqual([]);
    expect(constraints.length).toBeGreaterThan(20);
  });

  it('names only tests that exist, in the file where it says they are', () => {
    const missing: string[] = [];
    let count = 0;
    for (const [, path, titles] of document.matchAll(/`(test\/[^`]+)`: ((?:"[^"]+"(?:, )?)+)/g)) {
      const source = read(path as string).replace(/\\'/g, "'");
      for (const [, title] of (titles as string).matchAll(/"([^"]+)"/g)) {
        count += 1;
        if (!source.includes(title as string)) missing.push(`${path}: ${title}`);
      }
    }
    expect(missing).toEqual([]);
    expect(count).toBeGreaterThan(30);
  });
});

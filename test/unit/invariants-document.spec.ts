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

  it('has one section a promise, each with what keeps it and a test that would fail', () => {
    const sections = document.split('\n### ').slice(1);
    const incomplete = sections.filter(
      (section) => !/^- (Code|Database): /m.test(section) || !/^- Test: /m.test(section),
    );
    expect(incomplete.map((section) => section.split('\n')[0])).toEqual([]);
    expect(sections.length).toBeGreaterThan(200);
    const titles = sections.map((section) => section.split('\n')[0]);
    expect(new Set(titles).size).toBe(titles.length);
  });

  it('names only constraints, triggers, indexes and functions that the migrations make', () => {
    const refusals = [...document.matchAll(/^- Database: (.*)$/gm)].flatMap(([, text]) => [
      ...(text as string).matchAll(/`([a-z_]+)`/g),
    ]);
    const tables = ['transfers', 'wallets', 'credit_lots', 'holds', 'top_ups', 'generations'].join('|');
    const elsewhere = named.filter((name) => new RegExp(`^(${tables})_[a-z_]+$`).test(name));
    const names = [...refusals.map(([, name]) => name as string), ...elsewhere];
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(migrations))).toEqual([]);
    expect(names.length).toBeGreaterThan(150);
  });

  it('names only tests that exist, in the file where it says they are', () => {
    const missing: string[] = [];
    let count = 0;
    for (const [, path, list] of document.matchAll(
      /^- Test: `(test\/[^`]+)`[^\n]*\n((?: {2}- "[^\n]+"\n)*)/gm,
    )) {
      const source = read(path as string).replace(/\\'/g, "'");
      for (const [, title] of (list as string).matchAll(/^ {2}- "(.+)"$/gm)) {
        count += 1;
        if (!source.includes(title as string)) missing.push(`${path}: ${title}`);
      }
    }
    expect(missing).toEqual([]);
    expect(count).toBe(document.match(/^ {2}- "/gm)?.length);
    expect(count).toBeGreaterThan(400);
  });
});

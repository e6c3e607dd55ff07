import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { POSTING_RULES } from '../../src/money/ledger/transfer.js';
import { EXPORT_FORMATS } from '../../src/money/ledger/export/export-format.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestBooks } from '../support/database/test-books.js';
import { seededRandom } from '../support/seeded-random.js';
import { putTogether, verdictOf } from '../support/wallet/export-files.js';
import { anyBooks } from '../support/wallet/export-samples.js';
import { independentVerdicts, PythonMissingError } from '../support/wallet/independent-verifier.js';
import { allPostings, postingFile, type Posting } from '../support/wallet/posting-files.js';
import {
  genuineExports,
  judgeTampers,
  misjudged,
  playGenuineBooks,
  TAMPER_KINDS,
} from '../support/wallet/verifier-agreement.js';

/** `independent-verifier.long.spec.ts` judges ten times as many. */
const TAMPERS = 200;
const FUZZED = 60;

const random = seededRandom('two verifiers of exports');
let books: TestBooks;
let genuine: Awaited<ReturnType<typeof genuineExports>>;

beforeAll(async () => {
  books = await playGenuineBooks(random);
  genuine = await genuineExports(books);
});
afterAll(async () => {
  await expectBooksToBalance(books.dataSource);
  await books.close();
});

describe('a verifier that was written from the README of the ledger alone', () => {
  it('accepts what the service wrote: every kind of transfer, one account, and parts, in both formats, with any text in it', async () => {
    const verdicts = await independentVerdicts(genuine.map(({ text }) => Buffer.from(text)));
    expect(verdicts.filter(({ line }) => line !== null)).toEqual([]);
    for (const { text } of genuine) expect(await verdictOf(text)).toMatchObject({ ok: true });
    expect(genuine.length).toBe(8);
    const kinds = new Set(genuine[0]?.rows.map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(Object.keys(POSTING_RULES).sort());
  });

  it('accepts every text of Unicode in every column that takes any, in both formats', async () => {
    const files = fc
      .sample(anyBooks, { numRuns: FUZZED, seed: random.between(0, 2_147_483_647) })
      .flatMap((file) => EXPORT_FORMATS.map((format) => Buffer.from(putTogether(file, format))));
    const verdicts = await independentVerdicts(files);
    expect(verdicts.filter(({ line }) => line !== null)).toEqual([]);
  });

  it('agrees with `coffer verify` on every damaged or forged file, to the line', async () => {
    const judged = await judgeTampers(genuine, random, TAMPERS);
    expect(misjudged(judged)).toEqual([]);
    expect([...new Set(judged.map(({ kind }) => kind))].sort()).toEqual([...TAMPER_KINDS].sort());
  });

  it('knows the same posting rules: every one of them is accepted, in the books that may hold it', async () => {
    const all = allPostings();
    const pair = ({ kind, debit, credit }: Posting) => `${kind} ${debit} ${credit}`;
    const allowed = new Set(all.filter((posting) => posting.allowed).map(pair));
    const rules = all.filter((posting) => allowed.has(pair(posting)));
    const verdicts = await independentVerdicts(rules.map(postingFile));
    const accepted = rules.map((rule, index) => ({ ...rule, allowed: verdicts[index]?.line === null }));
    expect(accepted).toEqual(rules);
  });

  it('accepts the example of the README', async () => {
    const readme = readFileSync(new URL('../../src/money/ledger/README.md', import.meta.url), 'utf8');
    const example = /```csv\n([^]*?)```/.exec(readme)?.[1] ?? '';
    expect(await independentVerdicts([Buffer.from(example)])).toMatchObject([{ line: null }]);
  });

  it('says what to install where there is no Python', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = '/nowhere';
    try {
      await expect(independentVerdicts([Buffer.from('')])).rejects.toThrow(PythonMissingError);
      await expect(independentVerdicts([Buffer.from('')])).rejects.toThrow('apt-get install python3');
    } finally {
      process.env['PATH'] = path;
    }
  });
});

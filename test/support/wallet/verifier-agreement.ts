import fc from 'fast-check';
import { newId } from '../../../src/common/ids.js';
import { micros } from '../../../src/common/money.js';
import { NotAnExportError } from '../../../src/ledger/export/read-export.js';
import { EXPORT_FORMATS, type ExportRange } from '../../../src/ledger/export/export-format.js';
import { anyText } from '../any-text.js';
import { TestBooks } from '../database/test-books.js';
import type { SeededRandom } from '../seeded-random.js';
import { EVERYTHING, exportText, takeApart, verdictOf } from './export-files.js';
import { SPELLINGS } from './export-spellings.js';
import { TAMPERS, type Genuine, type Tamper, type Tampered } from './export-tampers.js';
import { independentVerdicts } from './independent-verifier.js';

const KINDS = Object.entries({ ...TAMPERS, ...SPELLINGS });

/** Books that the real engine wrote: everything that can happen, texts of all of Unicode, and the platform's own. */
export async function playGenuineBooks(random: SeededRandom): Promise<TestBooks> {
  const books = await TestBooks.open();
  await books.playEverything();
  const accountId = await books.account('Types anything');
  await books.topUp(accountId, 10_000_000n, { actor: anySample(random) });
  const granted = { memo: anySample(random), lotId: `lot_${anySample(random)}` };
  await books.grant(accountId, 100_000n, granted);
  for (let index = 0; index < 12; index += 1) {
    books.pass(0.2);
    const reference = `debit:${anySample(random)}${newId('request')}`;
    await books.debit(accountId, 40_000n, { reference, memo: anySample(random), actor: anySample(random) });
  }
  await bookPayout(books);
  return books;
}

/** A payout of $5.00 with a fee of $0.33: Stripe's row, and the platform's two. */
async function bookPayout(books: TestBooks): Promise<void> {
  await books.owner.query(
    `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents,
                                              net_cents, created_at, stored_at, booked_at)
     VALUES ('txn_payout', false, 'payout', 'payout', 'usd', -500, 33, -533, $1, $1, $1)`,
    [new Date(books.nowMs)],
  );
  await books.execute({
    type: 'book',
    accountId: 'acct_platform',
    actor: 'stripe',
    reference: 'balance_transaction:txn_payout',
    fingerprint: '',
    memo: 'Stripe payout',
    legs: [
      { kind: 'processor_fee', amountMicros: micros(330_000n) },
      { kind: 'payout', amountMicros: micros(5_000_000n) },
    ],
  });
}

function anySample(random: SeededRandom): string {
  const [text = ''] = fc.sample(anyText({ maxLength: 60 }), {
    seed: random.between(0, 2_147_483_647),
    numRuns: 1,
  });
  return text;
}

/** The whole of the books, one account, and parts that end or begin in the middle, each in both formats. */
export async function genuineExports(books: TestBooks): Promise<(Genuine & { readonly text: string })[]> {
  const everything = takeApart(await exportText(books, 'jsonl'));
  const middle = everything.rows.find((row) => row.kind === 'expiry')?.created_at as string;
  const ranges: ExportRange[] = [
    EVERYTHING,
    { ...EVERYTHING, account: everything.rows[0]?.account_id as string },
    { ...EVERYTHING, to: middle },
    { ...EVERYTHING, from: middle },
  ];
  const exports = ranges.flatMap((range) =>
    EXPORT_FORMATS.map(async (format) => {
      const { rows, end } = takeApart(await exportText(books, 'jsonl', range));
      return { rows, end, format, whole: range.from === null, text: await exportText(books, format, range) };
    }),
  );
  return Promise.all(exports);
}

export type Judged = {
  readonly kind: string;
  readonly expect: Tampered['expect'];
  /** Line of the first fault; null when it was accepted. */
  readonly coffer: number | null;
  readonly independent: number | null;
  readonly words: string;
};

/** Makes `count` tampers, all kinds in turn, and has both verifiers judge each of them. */
export async function judgeTampers(
  genuine: readonly Genuine[],
  random: SeededRandom,
  count: number,
): Promise<Judged[]> {
  const made = Array.from({ length: count }, (_, index) => {
    const [kind, tamper] = KINDS[index % KINDS.length] as (typeof KINDS)[number];
    return { kind, tampered: makeTamper(tamper, genuine, random) };
  });
  const independent = await independentVerdicts(made.map(({ tampered }) => tampered.file));
  return Promise.all(
    made.map(async ({ kind, tampered: { file, expect } }, index) => {
      const { line, words } = independent[index] as (typeof independent)[number];
      return { kind, expect, coffer: await faultyLine(file), independent: line, words };
    }),
  );
}

/** Of some file that has what this kind is done to. */
function makeTamper(tamper: Tamper, genuine: readonly Genuine[], random: SeededRandom): Tampered {
  for (;;) {
    const tampered = tamper(random.pick(genuine), random);
    if (tampered !== null) return tampered;
  }
}

export const TAMPER_KINDS: readonly string[] = KINDS.map(([kind]) => kind);

async function faultyLine(file: Buffer): Promise<number | null> {
  try {
    const verdict = await verdictOf(file, 4_096);
    return verdict.ok ? null : verdict.fault.line;
  } catch (error) {
    if (error instanceof NotAnExportError) return 1;
    throw error;
  }
}

/** Those that the verifiers do not agree on, or that an export alone shows to be something else than they were taken for. */
export function misjudged(judged: readonly Judged[]): Judged[] {
  return judged.filter(({ expect, coffer, independent }) => {
    if (coffer !== independent) return true;
    return expect === 'unknown' ? false : (coffer === null) !== (expect === 'accepted');
  });
}

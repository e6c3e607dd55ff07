import fc from 'fast-check';
import { newId } from '../../../src/platform/common/ids.js';
import { micros } from '../../../src/platform/common/money.js';
import type { WalletCommand } from '../../../src/money/wallets/rules/command.js';
import { NotAnExportError } from '../../../src/money/ledger/export/read-export.js';
import { EXPORT_FORMATS, type ExportRange } from '../../../src/money/ledger/export/export-format.js';
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
  await playReturns(books, random);
  await bookPayout(books);
  await bookUpstreamCost(books, accountId);
  await bookUnapplied(books, accountId);
  return books;
}

/**
 * Money that goes back and comes back in every part: credit, fee, tax, and what goes beyond the payment. One is a dispute
 * whose debt is written off before it is won, the other a refund made at Stripe that its bank returns.
 */
async function playReturns(books: TestBooks, random: SeededRandom): Promise<void> {
  const accountId = await books.account('Had money taken');
  const named = (reference: string) =>
    ({ accountId, actor: anySample(random), reference, fingerprint: '', memo: anySample(random) }) as const;
  const parts = {
    amountMicros: micros(8_000_000n),
    feeMicros: micros(400_000n),
    taxMicros: micros(640_000n),
    excessMicros: micros(1_460_000n),
  };
  for (const cause of ['dispute', 'refund'] as const) {
    const id = `${cause}:${newId('request')}`;
    const lotId = newId('creditLot');
    await books.topUp(accountId, 8_000_000n, { lotId, taxMicros: micros(640_000n) });
    await books.debit(accountId, 6_000_000n, { memo: anySample(random) });
    const change = { id: newId('freeze'), statusChangeId: newId('statusChange'), reason: id };
    const freeze = { ...change, source: cause, sourceId: id };
    await books.execute({ type: 'reverseCredit', cause, ...named(id), ...parts, lotId, freeze });
    await books.execute({ type: 'writeOff', ...named(`${id}:written_off:1`) });
    books.pass(0.1);
    await books.execute({
      type: 'reinstate',
      ...named(`${id}:back`),
      ...parts,
      lotId: newId('creditLot'),
      givenLotId: newId('creditLot'),
    });
    const statusChangeId = newId('statusChange');
    await books.execute({ type: 'unfreeze', ...named(''), lifts: {}, statusChangeId, reason: 'over' });
  }
}

/** A payout of $5.00 with a fee of $0.33, which its bank sends back: Stripe's rows, and the platform's. */
async function bookPayout(books: TestBooks): Promise<void> {
  const balanceTransactions = [
    { id: 'txn_payout', type: 'payout', cents: [-500, 33, -533], legs: ['processor_fee', 'payout'] },
    {
      id: 'txn_returned',
      type: 'payout_failure',
      cents: [500, -33, 533],
      legs: ['processor_fee_return', 'payout_return'],
    },
  ] as const;
  for (const { id, type, cents, legs } of balanceTransactions) {
    await books.owner.query(
      `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents,
                                                net_cents, created_at, stored_at, booked_at)
       VALUES ($1, false, $2, 'payout', 'usd', $3, $4, $5, $6, $6, $6)`,
      [id, type, ...cents, new Date(books.nowMs)],
    );
    const [fee, payout] = legs;
    await bookPlatform(books, `balance_transaction:${id}`, [
      { kind: fee, amountMicros: micros(330_000n) },
      { kind: payout, amountMicros: micros(5_000_000n) },
    ]);
  }
}

/** What a provider charged for one image of a day. */
async function bookUpstreamCost(books: TestBooks, accountId: string): Promise<void> {
  const now = new Date(books.nowMs);
  await books.owner.query(
    `WITH call AS (
       INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested, width,
                                height, response_format, output_format, fingerprint, media_key_id, status, lease_expires_at,
                                hold_id, created_at)
       SELECT $1, 'gen_1', 'key_1', 'req_1', model, id, amount_micros, 1, 64, 64, 'url', 'png', '', 'k', 'running', $2, 'hold_1', $2
         FROM prices WHERE amount_micros > 0 LIMIT 1 RETURNING account_id, id)
     INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, status, upstream_cost_micros, created_at)
     SELECT account_id, id, 0, 1, 'black_forest_labs', 'pending', 14000, $2 FROM call`,
    [accountId, now],
  );
  const reference = `upstream_cost:${now.toISOString().slice(0, 10)}:black_forest_labs`;
  await bookPlatform(books, reference, [{ kind: 'upstream_cost', amountMicros: micros(14_000n) }]);
}

/** $5.00 that an operator sent back without crediting them: Stripe's rows, the review's, and the platform's. */
async function bookUnapplied(books: TestBooks, accountId: string): Promise<void> {
  const topUpId = newId('topUp');
  await books.owner.query(
    `INSERT INTO top_ups (account_id, id, status, credit_micros, fee_micros, charge_cents, fee_mode, fee_bps, livemode, lot_id,
                          save_card, success_url, cancel_url, expires_at, checkout_session_id, fingerprint, created_by,
                          created_at, checked_at, automatic_tax)
     VALUES ($1, $2::text, 'rejected', 5000000, 0, 500, 'on_top', 0, false, $3, false, '', '', now(), 'cs_' || $2::text, '',
             'test', now(), now(), false)`,
    [accountId, topUpId, newId('creditLot')],
  );
  await books.owner.query(
    `INSERT INTO payment_reviews (account_id, id, top_up_id, status, payment, payment_intent_id, paid, contradictions, returns,
                                  stripe_refund_id, created_at, checked_at)
     VALUES ($1, $2, $3, 'returned', 'cs_unapplied', 'pi_unapplied', true, 'amount', 1, 're_unapplied', now(), now())`,
    [accountId, newId('paymentReview'), topUpId],
  );
  const balanceTransactions = [
    { id: 'txn_unapplied', type: 'charge', source: 'ch_unapplied', cents: 500, kind: 'unapplied_payment' },
    {
      id: 'txn_sent_back',
      type: 'refund',
      source: 're_unapplied',
      cents: -500,
      kind: 'unapplied_payment_release',
    },
  ] as const;
  for (const { id, type, source, cents, kind } of balanceTransactions) {
    await books.owner.query(
      `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents,
                                                net_cents, source_id, payment_intent_id, created_at, stored_at, booked_at)
       VALUES ($1, false, $2, $2, 'usd', $3, 0, $3, $4, 'pi_unapplied', $5, $5, $5)`,
      [id, type, cents, source, new Date(books.nowMs)],
    );
    await bookPlatform(books, `unapplied:${id}`, [{ kind, amountMicros: micros(5_000_000n) }]);
  }
}

async function bookPlatform(
  books: TestBooks,
  reference: string,
  legs: Extract<WalletCommand, { type: 'book' }>['legs'],
): Promise<void> {
  const named = { accountId: 'acct_platform', actor: 'system', reference, fingerprint: '', memo: null };
  await books.execute({ type: 'book', ...named, legs });
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

import { customerEffect } from '../../../src/money/ledger/chain-walk.js';
import {
  isCustomerLedgerAccount,
  LEDGER_ACCOUNTS,
  PLATFORM_KINDS,
  POSTING_RULES,
  transferId,
} from '../../../src/money/ledger/transfer.js';
import type { ExportRow } from '../../../src/money/ledger/export/export-format.js';
import { forgeHashes, putTogether } from './export-files.js';
import { END } from './export-samples.js';

export type Posting = {
  readonly book: string;
  readonly kind: string;
  readonly debit: string;
  readonly credit: string;
  readonly allowed: boolean;
};

const NAMES = Object.keys(LEDGER_ACCOUNTS);
const PLATFORM = 'acct_platform';

/** Every kind with every pair of ledger accounts, and whether the posting rules let it be. */
export function allPostings(): Posting[] {
  const rules: Readonly<Record<string, readonly (readonly [string, string])[]>> = POSTING_RULES;
  return [...Object.keys(rules), 'gift'].flatMap((kind) =>
    NAMES.flatMap((debit) =>
      NAMES.flatMap((credit) =>
        booksOf(rules[kind]?.some(([from, to]) => from === debit && to === credit) === true).map(
          ([book, isRule]) => {
            const allowed = isRule && (book === PLATFORM || !PLATFORM_KINDS.has(kind as never));
            return { book, kind, debit, credit, allowed };
          },
        ),
      ),
    ),
  );
}

/** What no rule allows is tried in the platform's book, which may hold every kind. */
function booksOf(isRule: boolean): [book: string, isRule: boolean][] {
  return (isRule ? ['acct_customer', PLATFORM] : [PLATFORM]).map((book) => [book, isRule]);
}

/**
 * An export that is right in everything but, perhaps, this posting. A grant comes first, for what takes from one, a
 * debt, for what is written off, and a part of it that is, for what is owed again.
 */
export function postingFile({ book, kind, debit, credit }: Posting): Buffer {
  const grant = toRow(book, 1, ['grant', 'promotional_credit', 'customer_promo'], 'lot_grant', 0n);
  // Debt of paid credit needs no lot.
  const spend = ['debit', 'customer_credit', 'usage_revenue'] as const;
  const owed = [toRow(book, 2, spend, null, 100n), toRow(book, 3, spend, null, 0n)];
  const forgiven = toRow(book, 4, ['write_off', 'dispute_losses', 'customer_credit'], null, -100n);
  const spends = debit === 'customer_promo' ? 'lot_grant' : null;
  const opens = kind === 'write_off' ? null : 'lot_new';
  const lotId = isCustomerLedgerAccount(credit) ? opens : spends;
  const row = toRow(book, 5, [kind, debit, credit], lotId, 0n);
  return Buffer.from(putTogether(forgeHashes({ rows: [grant, ...owed, forgiven, row], end: END }), 'jsonl'));
}

function toRow(
  accountId: string,
  seq: number,
  [kind, debit_account, credit_account]: readonly [string, string, string],
  lot_id: string | null,
  postedMicros: bigint,
): ExportRow {
  const row: ExportRow = {
    account_id: accountId,
    seq: `${seq}`,
    id: transferId(accountId, seq),
    kind,
    debit_account,
    credit_account,
    amount_micros: '100',
    lot_id,
    posted_after_micros: '',
    reference: `event:${seq}`,
    leg: '0',
    link_id: `lnk_${seq}`,
    actor: 'system',
    memo: null,
    created_at: '2026-11-22T08:02:11.123Z',
    previous_hash: '',
    hash: '',
  };
  return { ...row, posted_after_micros: `${postedMicros + customerEffect(row)}` };
}

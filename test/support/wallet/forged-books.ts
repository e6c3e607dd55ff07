import { LotReplay } from '../../../src/money/ledger/lot-replay.js';
import type { ExportRow } from '../../../src/money/ledger/export/export-format.js';
import { GENESIS_HASH, transferId } from '../../../src/money/ledger/transfer.js';
import { customerEffect } from '../../../src/money/ledger/chain-walk.js';
import type { TestBooks } from '../database/test-books.js';
import { EVERYTHING, exportText, forgeHashes, takeApart } from './export-files.js';

/** What a forger says of a new row; the rest follows from its place. */
export type ForgedRow = Pick<
  ExportRow,
  'kind' | 'debit_account' | 'credit_account' | 'amount_micros' | 'reference'
> &
  Partial<ExportRow>;

const INSERT_ROW = `
  INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id, posted_after_micros,
                         reference, leg, link_id, actor, memo, created_at, hash)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, decode($16, 'hex'))`;

/** Opens what a new row says that it opened. */
const INSERT_LOT = `
  INSERT INTO credit_lots (account_id, id, kind, source, refundable, granted_micros, remaining_micros, created_at)
  VALUES ($1, $2, CASE $3 WHEN 'customer_credit' THEN 'paid' ELSE 'promotional' END, $4, $4 IN ('top_up', 'reinstatement'), $5, 0, $6)
  ON CONFLICT (account_id, id) DO UPDATE SET granted_micros = excluded.granted_micros`;

/** What a write-off gave up, as the engine writes it down. */
const INSERT_RELIEF = `
  INSERT INTO debt_reliefs (account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros)
  VALUES ($1, $2, $3, 'write_off', $4, $5, 0)`;

/**
 * Writes one book again, as somebody would who owns the database and knows how it is made: other rows, all numbers, balances
 * and hashes computed for them, and the wallet and its lots to match. Whatever keeps the rules cannot be distinguished from the
 * truth by the database alone; this is for what does not.
 */
export async function rewriteBook(
  books: TestBooks,
  accountId: string,
  change: (rows: readonly ExportRow[]) => readonly (ExportRow | ForgedRow)[],
): Promise<void> {
  const genuine = takeApart(await exportText(books, 'jsonl', { ...EVERYTHING, account: accountId }));
  const { rows } = forgeHashes({ rows: completed(accountId, change(genuine.rows)), end: genuine.end });
  const { owner } = books;
  await owner.query(`BEGIN; ${['transfers', 'wallets', 'credit_lots'].map(withoutTriggers).join('; ')}`);
  await owner.query('DELETE FROM transfers WHERE account_id = $1', [accountId]);
  const replay = new LotReplay();
  for (const row of rows) {
    replay.next(row);
    const { account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id } = row;
    const { posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash } = row;
    await owner.query(INSERT_ROW, [
      ...[account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id],
      ...[posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash],
    ]);
    if (kind === 'write_off')
      await owner.query(INSERT_RELIEF, [accountId, seq, reference, amount_micros, `${replay.debt}`]);
    if (lot_id === null || customerEffect(row) <= 0n) continue;
    await owner.query(INSERT_LOT, [accountId, lot_id, credit_account, kind, amount_micros, created_at]);
  }
  await owner.query('UPDATE credit_lots SET remaining_micros = 0 WHERE account_id = $1', [accountId]);
  for (const [id, { remaining }] of replay.live) {
    const update = 'UPDATE credit_lots SET remaining_micros = $3 WHERE account_id = $1 AND id = $2';
    await owner.query(update, [accountId, id, `${remaining}`]);
  }
  const last = rows.at(-1);
  await owner.query(
    `UPDATE wallets SET posted_micros = $2, debt_micros = $3, seq = $4, head_hash = decode($5, 'hex'), head_at = $6
      WHERE account_id = $1`,
    [
      accountId,
      `${replay.posted}`,
      `${replay.debt}`,
      last?.seq,
      last?.hash ?? GENESIS_HASH,
      last?.created_at,
    ],
  );
  await owner.query('COMMIT');
}

const withoutTriggers = (table: string): string => `ALTER TABLE ${table} DISABLE TRIGGER USER`;

function completed(accountId: string, rows: readonly (ExportRow | ForgedRow)[]): ExportRow[] {
  let posted = 0n;
  let createdAt = '2026-11-01T00:00:00.000Z';
  return rows.map((row, index) => {
    createdAt = row.created_at ?? createdAt;
    const whole: ExportRow = {
      lot_id: null,
      leg: '0',
      link_id: `lnk_${row.reference}`,
      actor: 'system',
      memo: null,
      ...row,
      account_id: accountId,
      seq: `${index + 1}`,
      id: transferId(accountId, index + 1),
      posted_after_micros: '',
      created_at: createdAt,
      previous_hash: '',
      hash: '',
    };
    posted += customerEffect(whole);
    return { ...whole, posted_after_micros: `${posted}` };
  });
}

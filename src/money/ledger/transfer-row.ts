import type { TextRow } from '../../platform/database/snapshot.js';
import type { ExportedTransfer } from './transfer.js';

/**
 * Reads transfers in their exported spelling: what Postgres prints for an integer or a text is that spelling
 * already, and the two others are shaped here. The columns are in canonical order.
 */
export const TRANSFER_COLUMNS = `
  t.account_id, t.seq, t.id, t.kind, t.debit_account, t.credit_account, t.amount_micros, t.lot_id,
  t.posted_after_micros, t.reference, t.leg, t.link_id, t.actor, t.memo,
  to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), encode(t.hash, 'hex')`;

/** How many columns that is; a query may add its own after them. */
export const TRANSFER_COLUMN_COUNT = 16;

/** Expects the session's time zone to be UTC, as every `Snapshot` sets it. */
export function toExportedTransfer(row: TextRow): ExportedTransfer {
  const text = row as readonly string[];
  return {
    account_id: text[0] as string,
    seq: text[1] as string,
    id: text[2] as string,
    kind: text[3] as string,
    debit_account: text[4] as string,
    credit_account: text[5] as string,
    amount_micros: text[6] as string,
    lot_id: row[7] as string | null,
    posted_after_micros: text[8] as string,
    reference: text[9] as string,
    leg: text[10] as string,
    link_id: text[11] as string,
    actor: text[12] as string,
    memo: row[13] as string | null,
    created_at: text[14] as string,
    hash: text[15] as string,
  };
}

import type { Transfer } from '../../ledger/transfer.js';
import type { BatchWrites, OwnedHold, OwnedLot } from '../rules/batch.js';
import type { StatusChange } from '../rules/outcome.js';
import type { Wallet } from '../rules/wallet.js';
import type { SqlClient, SqlValue } from './sql-client.js';

/**
 * Writes a batch with one statement a table, whatever the batch's size. Each column travels as one array.
 */
export async function writeBatch(client: SqlClient, writes: BatchWrites): Promise<void> {
  const iso = isoFormatter();
  await run(client, INSERT_TRANSFERS, writes.transfers, transferColumns(iso));
  await run(client, UPDATE_WALLETS, writes.wallets, walletColumns(iso));
  await run(client, INSERT_LOTS, writes.newLots, newLotColumns(iso));
  await run(client, UPDATE_LOTS, writes.changedLots, changedLotColumns);
  await run(client, INSERT_HOLDS, writes.newHolds, newHoldColumns(iso));
  await run(client, UPDATE_HOLDS, writes.resolvedHolds, resolvedHoldColumns(iso));
  await run(client, INSERT_STATUS_CHANGES, writes.statusChanges, statusChangeColumns(iso));
}

type Statement = { readonly name: string; readonly text: string };
type Column<Row> = (row: Row) => string | number | null;
type Iso = (ms: number) => string;

async function run<Row>(
  client: SqlClient,
  statement: Statement,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
): Promise<void> {
  if (rows.length === 0) return;
  const values: SqlValue[] = columns.map((column) => rows.map(column));
  await client.rows(statement.name, statement.text, values);
}

/** Almost all rows of a batch carry the same millisecond. */
function isoFormatter(): Iso {
  let lastMs = Number.NaN;
  let last = '';
  return (ms) => {
    if (ms !== lastMs) {
      last = new Date(ms).toISOString();
      lastMs = ms;
    }
    return last;
  };
}

const isoOrNull = (iso: Iso, ms: number | null): string | null => (ms === null ? null : iso(ms));

const INSERT_TRANSFERS: Statement = {
  name: 'insert_transfers',
  text: `
  INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                         posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                       $8::text[], $9::bigint[], $10::text[], $11::smallint[], $12::text[], $13::text[],
                       $14::text[], $15::timestamptz[], $16::bytea[])`,
};

const transferColumns = (iso: Iso): Column<Transfer>[] => [
  (row) => row.accountId,
  (row) => row.seq,
  (row) => row.id,
  (row) => row.kind,
  (row) => row.debitAccount,
  (row) => row.creditAccount,
  (row) => row.amountMicros.toString(),
  (row) => row.lotId,
  (row) => row.postedAfterMicros.toString(),
  (row) => row.reference,
  (row) => row.leg,
  (row) => row.linkId,
  (row) => row.actor,
  (row) => row.memo,
  (row) => iso(row.createdAtMs),
  (row) => `\\x${row.hash}`,
];

const UPDATE_WALLETS: Statement = {
  name: 'update_wallets',
  text: `
  UPDATE wallets w
     SET status = v.status, posted_micros = v.posted, held_micros = v.held, debt_micros = v.debt,
         seq = v.seq, head_hash = v.head_hash, head_at = v.head_at
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[],
                $8::timestamptz[]) AS v (account_id, status, posted, held, debt, seq, head_hash, head_at)
   WHERE w.account_id = v.account_id`,
};

const walletColumns = (iso: Iso): Column<Wallet>[] => [
  (row) => row.accountId,
  (row) => row.status,
  (row) => row.postedMicros.toString(),
  (row) => row.heldMicros.toString(),
  (row) => row.debtMicros.toString(),
  (row) => row.seq,
  (row) => `\\x${row.headHash}`,
  (row) => iso(row.headAtMs),
];

const INSERT_LOTS: Statement = {
  name: 'insert_lots',
  text: `
  INSERT INTO credit_lots (account_id, id, kind, source, granted_micros, remaining_micros, priority, expires_at, created_at)
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::smallint[],
                       $8::timestamptz[], $9::timestamptz[])`,
};

const newLotColumns = (iso: Iso): Column<OwnedLot>[] => [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.kind,
  (row) => row.source,
  (row) => row.grantedMicros.toString(),
  (row) => row.remainingMicros.toString(),
  (row) => row.priority,
  (row) => isoOrNull(iso, row.expiresAtMs),
  (row) => iso(row.createdAtMs),
];

const UPDATE_LOTS: Statement = {
  name: 'update_lots',
  text: `
  UPDATE credit_lots l SET remaining_micros = v.remaining
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS v (account_id, id, remaining)
   WHERE l.account_id = v.account_id AND l.id = v.id`,
};

const changedLotColumns: Column<OwnedLot>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.remainingMicros.toString(),
];

const INSERT_HOLDS: Statement = {
  name: 'insert_holds',
  text: `
  INSERT INTO holds (account_id, id, reference, fingerprint, amount_micros, captured_micros, status, memo,
                     created_at, expires_at, resolved_at)
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
                       $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])`,
};

const newHoldColumns = (iso: Iso): Column<OwnedHold>[] => [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.reference,
  (row) => row.fingerprint,
  (row) => row.amountMicros.toString(),
  (row) => row.capturedMicros.toString(),
  (row) => row.status,
  (row) => row.memo,
  (row) => iso(row.createdAtMs),
  (row) => iso(row.expiresAtMs),
  (row) => isoOrNull(iso, row.resolvedAtMs),
];

const UPDATE_HOLDS: Statement = {
  name: 'update_holds',
  text: `
  UPDATE holds h SET status = v.status, captured_micros = v.captured, resolved_at = v.resolved_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
         AS v (account_id, id, status, captured, resolved_at)
   WHERE h.account_id = v.account_id AND h.id = v.id`,
};

const resolvedHoldColumns = (iso: Iso): Column<OwnedHold>[] => [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.status,
  (row) => row.capturedMicros.toString(),
  (row) => isoOrNull(iso, row.resolvedAtMs),
];

const INSERT_STATUS_CHANGES: Statement = {
  name: 'insert_status_changes',
  text: `
  INSERT INTO wallet_status_changes (account_id, id, status, actor, reason, created_at)
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])`,
};

const statusChangeColumns = (iso: Iso): Column<StatusChange>[] => [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.status,
  (row) => row.actor,
  (row) => row.reason,
  (row) => iso(row.createdAtMs),
];

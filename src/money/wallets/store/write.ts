import type { Statement, StatementCall } from '../../../platform/database/pipeline.js';
import { formatUtcTime } from '../../../platform/common/clock.js';
import type { Transfer } from '../../ledger/transfer.js';
import type {
  BatchWrites,
  LevelledWallet,
  OwnedBudget,
  OwnedFreeze,
  OwnedHold,
  OwnedLot,
  OwnedRelief,
} from '../rules/batch.js';
import type { StatusChange } from '../rules/command.js';
import type { RowLocations } from './load.js';
import { ROW_BY_ROW } from './sql.js';

/**
 * Writes a batch in one statement, whatever its size: the rows of each table travel as one array for each column, and the
 * tables are joined by data-modifying CTEs. There is no call when there is nothing to write.
 *
 * @param locations where the wallets and lots were found; the lock of the wallet keeps them there.
 */
export function toWriteCall(writes: BatchWrites, locations: RowLocations): StatementCall[] {
  const parts = [
    part(INSERT_TRANSFERS, writes.transfers, transferColumns),
    part(UPDATE_WALLETS, writes.wallets, walletColumns(locations)),
    part(INSERT_LOTS, writes.newLots, newLotColumns),
    part(UPDATE_LOTS, writes.changedLots, changedLotColumns(locations)),
    part(INSERT_HOLDS, writes.newHolds, newHoldColumns),
    part(UPDATE_HOLDS, writes.resolvedHolds, resolvedHoldColumns),
    part(UPSERT_BUDGETS, writes.changedBudgets, budgetColumns),
    part(DELETE_BUDGETS, writes.endedBudgets, budgetColumns.slice(0, 2)),
    part(INSERT_FREEZES, writes.newFreezes, newFreezeColumns),
    part(LIFT_FREEZES, writes.liftedFreezes, liftedFreezeColumns),
    part(INSERT_RELIEFS, writes.newReliefs, newReliefColumns),
    part(UPDATE_RELIEFS, writes.undoneReliefs, undoneReliefColumns),
    part(INSERT_STATUS_CHANGES, writes.statusChanges, statusChangeColumns),
  ].flatMap((filled) => filled ?? []);
  if (parts.length === 0) return [];
  const tables = parts.map(({ table }) => table);
  const columns = parts.flatMap(({ values }) => values);
  const isLone = parts.every(({ values }) => values[0]?.length === 1);
  return isLone
    ? [{ statement: toStatement(tables, LONE), values: columns.map(([value]) => value ?? null) }]
    : [{ statement: toStatement(tables, MANY), values: columns }];
}

type Value = string | number | null;
type Column<Row> = (row: Row) => Value;

/** How a batch writes one table. */
type TableWrite = {
  /** Short: the names of prepared statements are made of these, and Postgres cuts names at 63 bytes. */
  readonly code: string;
  /** The types of the columns, in order. */
  readonly types: readonly string[];
  /** The statement, given the source of its rows. */
  readonly text: (rows: string) => string;
};

/** How the rows of a table reach the statement. */
type RowSource = {
  readonly code: string;
  readonly from: (types: readonly string[], first: number) => string;
};

const MANY: RowSource = {
  code: 'write',
  from: (types, first) => `unnest(${types.map((type, index) => `$${first + index}::${type}[]`).join(', ')})`,
};

/** One row for each table, which is what a lone command writes: the server saves the set-up of its arrays, an eighth of the work. */
const LONE: RowSource = {
  code: 'write_lone',
  from: (types, first) => `(VALUES (${types.map((type, index) => `$${first + index}::${type}`).join(', ')}))`,
};

/** By name; a connection prepares each once. Of all combinations of tables only a few occur, again and again. */
const statements = new Map<string, Statement>();

function toStatement(tables: readonly TableWrite[], source: RowSource): Statement {
  const name = `${source.code}:${tables.map(({ code }) => code).join(',')}`;
  const known = statements.get(name);
  if (known !== undefined) return known;
  const statement = { name, text: combine(tables, source) };
  statements.set(name, statement);
  return statement;
}

type Part = { readonly table: TableWrite; readonly values: readonly (readonly Value[])[] };

function part<Row>(table: TableWrite, rows: readonly Row[], columns: readonly Column<Row>[]): Part | null {
  return rows.length === 0 ? null : { table, values: columns.map((column) => rows.map(column)) };
}

/**
 * Finds the row at the location that `v` names, and only if it is the row that was locked there. The key is compared in a form
 * that is no join to the planner, which for tables that were almost empty would read all of their index instead.
 */
function atLocation(table: string, ...key: readonly string[]): string {
  const same = key.map((column) => `${table}.${column} = v.${column}`).join(' AND ');
  return `${table}.ctid = v.location AND (${same}) IS TRUE`;
}

/**
 * The rest of an update of the rows that `v` names by their key. The `ctid` of the row, which the lock of the wallet keeps
 * unchanged, is looked up first, for the reason that `ROW_BY_ROW` gives.
 */
function byKey(table: string, ...key: readonly string[]): string {
  const named = key.map((column) => `k.${column} = v.${column}`).join(' AND ');
  return `LATERAL (SELECT k.ctid FROM ${table} k WHERE ${named} ${ROW_BY_ROW}) AS found
   WHERE ${table}.ctid = found.ctid`;
}

function combine(tables: readonly TableWrite[], source: RowSource): string {
  let parameter = 1;
  const texts = tables.map((table) => {
    const rows = source.from(table.types, parameter);
    parameter += table.types.length;
    return table.text(rows);
  });
  return `WITH ${texts.map((text, index) => `part_${index} AS (${text})`).join(', ')} SELECT`;
}

const timeOrNull = (ms: number | null): string | null => (ms === null ? null : formatUtcTime(ms));

const INSERT_TRANSFERS: TableWrite = {
  code: 't',
  types:
    'text bigint text text text text bigint text bigint text smallint text text text timestamptz bytea'.split(
      ' ',
    ),
  text: (rows) => `
  INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                         posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
  SELECT * FROM ${rows} AS v`,
};

const transferColumns: readonly Column<Transfer>[] = [
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
  (row) => formatUtcTime(row.createdAtMs),
  (row) => `\\x${row.hash}`,
];

const UPDATE_WALLETS: TableWrite = {
  code: 'w',
  types: ['tid', 'text', 'text', 'bigint', 'bigint', 'bigint', 'bigint', 'bytea', 'timestamptz', 'text'],
  text: (rows) => `
  UPDATE wallets
     SET status = v.status, posted_micros = v.posted, held_micros = v.held, debt_micros = v.debt,
         seq = v.seq, head_hash = v.head_hash, head_at = v.head_at, level = v.level
    FROM ${rows} AS v (location, account_id, status, posted, held, debt, seq, head_hash, head_at, level)
   WHERE ${atLocation('wallets', 'account_id')}`,
};

const walletColumns = (locations: RowLocations): Column<LevelledWallet>[] => [
  (row) => locations.getWallet(row.accountId),
  (row) => row.accountId,
  (row) => row.status,
  (row) => row.postedMicros.toString(),
  (row) => row.heldMicros.toString(),
  (row) => row.debtMicros.toString(),
  (row) => row.seq,
  (row) => `\\x${row.headHash}`,
  (row) => formatUtcTime(row.headAtMs),
  (row) => row.level,
];

const INSERT_LOTS: TableWrite = {
  code: 'nl',
  types: 'text text text text boolean bigint bigint smallint timestamptz timestamptz'.split(' '),
  text: (rows) => `
  INSERT INTO credit_lots (account_id, id, kind, source, refundable, granted_micros, remaining_micros, priority,
                           expires_at, created_at)
  SELECT * FROM ${rows} AS v`,
};

const newLotColumns: readonly Column<OwnedLot>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.kind,
  (row) => row.source,
  (row) => `${row.refundable}`,
  (row) => row.grantedMicros.toString(),
  (row) => row.remainingMicros.toString(),
  (row) => row.priority,
  (row) => timeOrNull(row.expiresAtMs),
  (row) => formatUtcTime(row.createdAtMs),
];

const UPDATE_LOTS: TableWrite = {
  code: 'l',
  types: ['tid', 'text', 'text', 'bigint'],
  text: (rows) => `
  UPDATE credit_lots SET remaining_micros = v.remaining
    FROM ${rows} AS v (location, account_id, id, remaining)
   WHERE ${atLocation('credit_lots', 'account_id', 'id')}`,
};

const changedLotColumns = (locations: RowLocations): Column<OwnedLot>[] => [
  (row) => locations.getLot(row.accountId, row.id),
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.remainingMicros.toString(),
];

const INSERT_HOLDS: TableWrite = {
  code: 'nh',
  types:
    'text text text text text smallint bigint bigint text text timestamptz timestamptz timestamptz'.split(
      ' ',
    ),
  text: (rows) => `
  INSERT INTO holds (account_id, id, reference, fingerprint, key_id, attempt, amount_micros, captured_micros, status, memo,
                     created_at, expires_at, resolved_at)
  SELECT * FROM ${rows} AS v`,
};

const newHoldColumns: readonly Column<OwnedHold>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.reference,
  (row) => row.fingerprint,
  (row) => row.keyId,
  (row) => row.attempt,
  (row) => row.amountMicros.toString(),
  (row) => row.capturedMicros.toString(),
  (row) => row.status,
  (row) => row.memo,
  (row) => formatUtcTime(row.createdAtMs),
  (row) => formatUtcTime(row.expiresAtMs),
  (row) => timeOrNull(row.resolvedAtMs),
];

const UPDATE_HOLDS: TableWrite = {
  code: 'h',
  types: ['text', 'text', 'text', 'bigint', 'timestamptz'],
  text: (rows) => `
  UPDATE holds SET status = v.status, captured_micros = v.captured, resolved_at = v.resolved_at
    FROM ${rows} AS v (account_id, id, status, captured, resolved_at), ${byKey('holds', 'account_id', 'id')}`,
};

const resolvedHoldColumns: readonly Column<OwnedHold>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.status,
  (row) => row.capturedMicros.toString(),
  (row) => timeOrNull(row.resolvedAtMs),
];

const UPSERT_BUDGETS: TableWrite = {
  code: 'b',
  types: ['text', 'text', 'bigint', 'bigint', 'bigint', 'date', 'bigint', 'bigint', 'bigint'],
  text: (rows) => `
  INSERT INTO key_budgets (account_id, key_id, day_limit_micros, month_limit_micros, total_limit_micros,
                           day, day_used_micros, month_used_micros, total_used_micros)
  SELECT * FROM ${rows} AS v
  ON CONFLICT ON CONSTRAINT key_budgets_pkey DO UPDATE
     SET day_limit_micros = excluded.day_limit_micros, month_limit_micros = excluded.month_limit_micros,
         total_limit_micros = excluded.total_limit_micros, day = excluded.day, day_used_micros = excluded.day_used_micros,
         month_used_micros = excluded.month_used_micros, total_used_micros = excluded.total_used_micros`,
};

const budgetColumns: readonly Column<OwnedBudget>[] = [
  (row) => row.accountId,
  (row) => row.keyId,
  (row) => row.limits.day?.toString() ?? null,
  (row) => row.limits.month?.toString() ?? null,
  (row) => row.limits.total?.toString() ?? null,
  (row) => row.day,
  (row) => row.used.day.toString(),
  (row) => row.used.month.toString(),
  (row) => row.used.total.toString(),
];

const DELETE_BUDGETS: TableWrite = {
  code: 'xb',
  types: ['text', 'text'],
  text: (rows) => `
  DELETE FROM key_budgets
   USING ${rows} AS v (account_id, key_id), ${byKey('key_budgets', 'account_id', 'key_id')}`,
};

const INSERT_FREEZES: TableWrite = {
  code: 'nf',
  types: ['text', 'text', 'text', 'text', 'text', 'text', 'timestamptz', 'timestamptz', 'text', 'text'],
  text: (rows) => `
  INSERT INTO wallet_freezes (account_id, id, source, source_id, reason, actor, created_at, lifted_at, lifted_by, lifted_reason)
  SELECT * FROM ${rows} AS v`,
};

const newFreezeColumns: readonly Column<OwnedFreeze>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.source,
  (row) => row.sourceId,
  (row) => row.reason,
  (row) => row.actor,
  (row) => formatUtcTime(row.createdAtMs),
  (row) => timeOrNull(row.liftedAtMs),
  (row) => row.liftedBy,
  (row) => row.liftedReason,
];

const LIFT_FREEZES: TableWrite = {
  code: 'f',
  types: ['text', 'text', 'timestamptz', 'text', 'text'],
  text: (rows) => `
  UPDATE wallet_freezes SET lifted_at = v.lifted_at, lifted_by = v.lifted_by, lifted_reason = v.lifted_reason
    FROM ${rows} AS v (account_id, id, lifted_at, lifted_by, lifted_reason), ${byKey('wallet_freezes', 'account_id', 'id')}`,
};

const liftedFreezeColumns: readonly Column<OwnedFreeze>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => timeOrNull(row.liftedAtMs),
  (row) => row.liftedBy,
  (row) => row.liftedReason,
];

const INSERT_RELIEFS: TableWrite = {
  code: 'nr',
  types: ['text', 'bigint', 'text', 'text', 'bigint', 'bigint', 'bigint'],
  text: (rows) => `
  INSERT INTO debt_reliefs (account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros)
  SELECT * FROM ${rows} AS v`,
};

const newReliefColumns: readonly Column<OwnedRelief>[] = [
  (row) => row.accountId,
  (row) => row.seq,
  (row) => row.reference,
  (row) => row.kind,
  (row) => row.amountMicros.toString(),
  (row) => row.stillOwedMicros.toString(),
  (row) => row.undoneMicros.toString(),
];

const UPDATE_RELIEFS: TableWrite = {
  code: 'r',
  types: ['text', 'bigint', 'bigint'],
  text: (rows) => `
  UPDATE debt_reliefs SET undone_micros = v.undone
    FROM ${rows} AS v (account_id, seq, undone), ${byKey('debt_reliefs', 'account_id', 'seq')}`,
};

const undoneReliefColumns: readonly Column<OwnedRelief>[] = [
  (row) => row.accountId,
  (row) => row.seq,
  (row) => row.undoneMicros.toString(),
];

const INSERT_STATUS_CHANGES: TableWrite = {
  code: 's',
  types: ['text', 'text', 'text', 'text', 'text', 'timestamptz'],
  text: (rows) => `
  INSERT INTO wallet_status_changes (account_id, id, status, actor, reason, created_at)
  SELECT * FROM ${rows} AS v`,
};

const statusChangeColumns: readonly Column<StatusChange>[] = [
  (row) => row.accountId,
  (row) => row.id,
  (row) => row.status,
  (row) => row.actor,
  (row) => row.reason,
  (row) => formatUtcTime(row.createdAtMs),
];

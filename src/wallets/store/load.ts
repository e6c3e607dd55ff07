import type { PoolClient } from 'pg';
import { micros } from '../../common/money.js';
import { runTogether, type Statement, type StatementCall } from '../../database/pipeline.js';
import type { WalletCommand } from '../rules/command.js';
import type { LoadedAccount } from '../rules/batch.js';
import { compareBurnOrder } from '../rules/lots.js';
import type { WalletLevel } from '../rules/signals.js';
import type { Hold, HoldStatus, Lot, LotKind, RecordedMovement, WalletStatus } from '../rules/wallet.js';
import {
  BUDGET_COLUMNS,
  budgetsOf,
  limitingOf,
  LOAD_BUDGETS,
  LOAD_USE,
  microsOrNull,
  useOf,
  type BudgetRow,
  type UseRow,
} from './load-budgets.js';
import { ROW_BY_ROW } from './row-by-row.js';

type WalletRow = {
  account_id: string;
  status: WalletStatus;
  posted_micros: string;
  held_micros: string;
  debt_micros: string;
  floor_micros: string;
  seq: string;
  head_hash: string;
  head_at_ms: string;
  top_up_mark_micros: string | null;
  low_mark_micros: string | null;
  level: WalletLevel;
};

const LOCK_WALLETS: Statement = {
  name: 'lock_wallets',
  text: `
  SELECT account_id, status, posted_micros, held_micros, debt_micros, floor_micros, seq,
         encode(head_hash, 'hex') AS head_hash, (extract(epoch FROM head_at) * 1000)::bigint AS head_at_ms,
         top_up_mark_micros, low_mark_micros, level
    FROM wallets WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR UPDATE`,
};

type LotRow = {
  account_id: string;
  id: string;
  kind: LotKind;
  source: string;
  granted_micros: string;
  remaining_micros: string;
  priority: number;
  expires_at_ms: string | null;
  created_at_ms: string;
};

const LOAD_LOTS: Statement = {
  name: 'load_lots',
  text: `
  SELECT account_id, id, kind, source, granted_micros, remaining_micros, priority,
         (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms,
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms
    FROM credit_lots WHERE account_id = ANY($1::text[]) AND live`,
};

type HoldRow = {
  account_id: string;
  id: string;
  reference: string;
  fingerprint: string;
  key_id: string | null;
  amount_micros: string;
  captured_micros: string;
  status: HoldStatus;
  memo: string | null;
  created_at_ms: string;
  expires_at_ms: string;
  resolved_at_ms: string | null;
};

const HOLD_COLUMNS = `
  h.account_id, h.id, h.reference, h.fingerprint, h.key_id, h.amount_micros, h.captured_micros, h.status, h.memo,
  (extract(epoch FROM h.created_at) * 1000)::bigint AS created_at_ms,
  (extract(epoch FROM h.expires_at) * 1000)::bigint AS expires_at_ms,
  (extract(epoch FROM h.resolved_at) * 1000)::bigint AS resolved_at_ms`;

const LOAD_HOLDS_BY_ID: Statement = {
  name: 'load_holds_by_id',
  // With the budget of its key, which its resolution may give something back to; most holds have none.
  text: `
  SELECT h.*, ${BUDGET_COLUMNS} FROM unnest($1::text[], $2::text[]) AS named (account_id, id), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h WHERE h.account_id = named.account_id AND h.id = named.id ${ROW_BY_ROW}) AS h
    LEFT JOIN LATERAL (
    SELECT k.* FROM key_budgets k WHERE k.account_id = h.account_id AND k.key_id = h.key_id ${ROW_BY_ROW}) AS b ON true`,
};

const LOAD_HOLDS_BY_REFERENCE: Statement = {
  name: 'load_holds_by_reference',
  text: `
  SELECT h.* FROM unnest($1::text[], $2::text[]) AS named (account_id, reference), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h
     WHERE h.account_id = named.account_id AND h.reference = named.reference ${ROW_BY_ROW}) AS h`,
};

type RecordedRow = {
  account_id: string;
  reference: string;
  link_id: string;
  id: string;
  amount_micros: string;
  memo: string | null;
  created_at_ms: string;
};

const LOAD_RECORDED: Statement = {
  name: 'load_recorded',
  text: `
  SELECT named.account_id, named.reference, t.*
    FROM unnest($1::text[], $2::text[]) AS named (account_id, reference), LATERAL (
      SELECT min(t.link_id) AS link_id, min(t.id) AS id, min(t.memo) AS memo,
             coalesce(sum(t.amount_micros) FILTER (WHERE t.debit_account IN ('customer_credit', 'customer_promo')
                                          OR t.credit_account IN ('customer_credit', 'customer_promo')), 0)::bigint AS amount_micros,
             (extract(epoch FROM min(t.created_at)) * 1000)::bigint AS created_at_ms
        FROM transfers t WHERE t.account_id = named.account_id AND t.reference = named.reference
      HAVING count(*) > 0) AS t`,
};

/**
 * Begins a tx, locks the wallets in id order (whoever locks in this order cannot deadlock with another batch),
 * and loads what the commands may depend on. All of it is one round trip: the server runs the statements
 * one after the other, each with a snapshot of its own, so what is read behind the lock is what the lock
 * protects. Accounts without a wallet row are missing in the answer.
 */
export async function lockAndLoad(
  client: PoolClient,
  begin: readonly StatementCall[],
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
): Promise<Map<string, LoadedAccount>> {
  const limiting = limitingOf(commands);
  const calls = [
    { statement: LOCK_WALLETS, values: [accountIds] },
    { statement: LOAD_LOTS, values: [accountIds] },
    ...namedBy(LOAD_HOLDS_BY_ID, commands, (command) =>
      'holdId' in command && command.type !== 'authorize' ? command.holdId : null,
    ),
    ...namedBy(LOAD_HOLDS_BY_REFERENCE, commands, (command) =>
      command.type === 'authorize' ? command.reference : null,
    ),
    ...namedBy(LOAD_BUDGETS, commands, (command) => ('keyId' in command ? command.keyId : null)),
    ...useOf(limiting),
    ...namedBy(LOAD_RECORDED, commands, (command) =>
      'reference' in command && command.type !== 'authorize' ? command.reference : null,
    ),
  ];
  const answers = (await runTogether(client, [...begin, ...calls])).slice(begin.length);
  const rowsOf = <Row>(...statements: readonly Statement[]): Row[] =>
    calls.flatMap(({ statement }, index) =>
      statements.includes(statement) ? ((answers[index] ?? []) as Row[]) : [],
    );
  const lots = groupByAccount(rowsOf<LotRow>(LOAD_LOTS));
  const holds = groupByAccount(rowsOf<HoldRow>(LOAD_HOLDS_BY_ID, LOAD_HOLDS_BY_REFERENCE));
  const budgets = groupByAccount(
    rowsOf<BudgetRow & { account_id: string; budget_key_id: string | null }>(
      LOAD_BUDGETS,
      LOAD_HOLDS_BY_ID,
    ).filter((row) => row.budget_key_id !== null),
  );
  const uses = rowsOf<UseRow>(LOAD_USE);
  const recorded = groupByAccount(rowsOf<RecordedRow>(LOAD_RECORDED));
  return new Map(
    rowsOf<WalletRow>(LOCK_WALLETS).map((row) => [
      row.account_id,
      {
        wallet: {
          accountId: row.account_id,
          status: row.status,
          postedMicros: micros(BigInt(row.posted_micros)),
          heldMicros: micros(BigInt(row.held_micros)),
          debtMicros: micros(BigInt(row.debt_micros)),
          floorMicros: micros(BigInt(row.floor_micros)),
          seq: Number(row.seq),
          headHash: row.head_hash,
          headAtMs: Number(row.head_at_ms),
          lots: (lots.get(row.account_id) ?? []).map(toLot).sort(compareBurnOrder),
        },
        watch: {
          topUpMarkMicros: microsOrNull(row.top_up_mark_micros),
          lowMarkMicros: microsOrNull(row.low_mark_micros),
          level: row.level,
        },
        holds: uniqueHolds((holds.get(row.account_id) ?? []).map(toHold)),
        budgets: budgetsOf(row.account_id, limiting, budgets.get(row.account_id) ?? [], uses),
        recorded: new Map(
          (recorded.get(row.account_id) ?? []).map((found) => [found.reference, toRecorded(found)]),
        ),
      },
    ]),
  );
}

/** The call that loads what the commands name, once each; none when they name nothing. */
function namedBy(
  statement: Statement,
  commands: readonly WalletCommand[],
  nameOf: (command: WalletCommand) => string | null,
): StatementCall[] {
  const accountIds: string[] = [];
  const names: string[] = [];
  const seen = new Set<string>();
  for (const command of commands) {
    const name = nameOf(command);
    // Account ids hold no newline, so the joined key is unambiguous.
    const key = `${command.accountId}\n${name}`;
    if (name === null || seen.has(key)) continue;
    seen.add(key);
    accountIds.push(command.accountId);
    names.push(name);
  }
  return names.length === 0 ? [] : [{ statement, values: [accountIds, names] }];
}

function groupByAccount<Row extends { account_id: string }>(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.account_id);
    if (group) group.push(row);
    else groups.set(row.account_id, [row]);
  }
  return groups;
}

/** A batch may name one hold by its id and by its reference. */
function uniqueHolds(holds: readonly Hold[]): Hold[] {
  return holds.length < 2 ? [...holds] : [...new Map(holds.map((hold) => [hold.id, hold])).values()];
}

function toLot(row: LotRow): Lot {
  return {
    id: row.id,
    kind: row.kind,
    source: row.source,
    grantedMicros: micros(BigInt(row.granted_micros)),
    remainingMicros: micros(BigInt(row.remaining_micros)),
    priority: row.priority,
    expiresAtMs: row.expires_at_ms === null ? null : Number(row.expires_at_ms),
    createdAtMs: Number(row.created_at_ms),
  };
}

function toHold(row: HoldRow): Hold {
  return {
    id: row.id,
    reference: row.reference,
    fingerprint: row.fingerprint,
    keyId: row.key_id,
    amountMicros: micros(BigInt(row.amount_micros)),
    capturedMicros: micros(BigInt(row.captured_micros)),
    status: row.status,
    memo: row.memo,
    createdAtMs: Number(row.created_at_ms),
    expiresAtMs: Number(row.expires_at_ms),
    resolvedAtMs: row.resolved_at_ms === null ? null : Number(row.resolved_at_ms),
  };
}

function toRecorded(row: RecordedRow): RecordedMovement {
  return {
    linkId: row.link_id,
    transferId: row.id,
    amountMicros: micros(BigInt(row.amount_micros)),
    memo: row.memo,
    createdAtMs: Number(row.created_at_ms),
  };
}

import type { DayUse, KeyBudget, CountedUse } from '../../../identity/api-keys/key-budget.js';
import type { DataSource } from 'typeorm';
import { micros, type MicroUsd } from '../../../platform/common/money.js';
import type { Statement, StatementCall } from '../../../platform/database/pipeline.js';
import type { SetKeyBudgetCommand } from '../rules/command.js';
import { toBudgetOfUse } from '../rules/key-budget.js';
import { ROW_BY_ROW } from './sql.js';

/** Columns of `key_budgets b`; all of them are null where a key has no budget. */
export const BUDGET_COLUMNS = `
  b.key_id AS budget_key_id, b.day::text AS budget_day,
  b.day_limit_micros, b.month_limit_micros, b.total_limit_micros,
  b.day_used_micros, b.month_used_micros, b.total_used_micros`;

export type BudgetRow = {
  budget_key_id: string;
  budget_day: string;
  day_limit_micros: string | null;
  month_limit_micros: string | null;
  total_limit_micros: string | null;
  day_used_micros: string;
  month_used_micros: string;
  total_used_micros: string;
};

/** A row of `LOAD_BUDGETS`, or of `LOAD_HOLDS_BY_ID` for a hold whose key may have no budget. */
export type LoadedBudgetRow = { account_id: string } & (BudgetRow | { budget_key_id: null });

const SELECT_NAMED_BUDGET = `
  SELECT k.* FROM key_budgets k WHERE k.account_id = named.account_id AND k.key_id = named.key_id ${ROW_BY_ROW}`;

export const LOAD_BUDGETS: Statement = {
  name: 'load_budgets',
  text: `
  SELECT b.account_id, ${BUDGET_COLUMNS}
    FROM unnest($1::text[], $2::text[]) AS named (account_id, key_id), LATERAL (${SELECT_NAMED_BUDGET}) AS b`,
};

/**
 * What a key used in the rows of the chain that the condition `picked` on `t` selects: its debits, which name the key as their
 * actor, and the captures of its holds, each at the time at which it was authorized. Older holds that do not name
 * their key are known by the key that captured them.
 */
const selectUses = (accountId: string, keyId: string, picked: string): string => `
  SELECT coalesce(h.created_at, t.created_at) AS used_at, t.amount_micros
    FROM transfers t
    LEFT JOIN LATERAL (SELECT k.created_at, k.key_id FROM holds k
                        WHERE t.kind = 'capture' AND k.account_id = t.account_id
                          AND k.id = substr(t.reference, length('capture:') + 1) ${ROW_BY_ROW}) AS h ON true
   WHERE t.account_id = ${accountId} AND ${picked} AND t.kind IN ('capture', 'debit')
     AND coalesce('account_key:' || h.key_id, t.actor) = 'account_key:' || ${keyId}`;

const sumPerDay = (uses: string): string => `
  SELECT (used_at AT TIME ZONE 'UTC')::date::text AS day, sum(amount_micros)::bigint AS used_micros
    FROM (${uses}) AS uses GROUP BY 1`;

/** For keys that have no budget yet: what they used after the rows that were counted before, and what they hold now. */
export const LOAD_USE: Statement = {
  name: 'load_key_use',
  text: `
  SELECT named.account_id, named.key_id, u.*
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS named (account_id, key_id, through_seq), LATERAL (
      ${sumPerDay(`
      ${selectUses('named.account_id', 'named.key_id', 't.seq > named.through_seq')}
      UNION ALL
      SELECT o.created_at, o.amount_micros FROM holds o
       WHERE o.account_id = named.account_id AND o.key_id = named.key_id AND o.status = 'authorized'`)}
    ) AS u
   WHERE NOT EXISTS (${SELECT_NAMED_BUDGET})`,
};

export type UseRow = { account_id: string; key_id: string; day: string; used_micros: string };

/** The call that counts the use of keys that are about to be limited. */
export function toUseCall(limiting: readonly SetKeyBudgetCommand[]): StatementCall {
  const values = [
    limiting.map(({ accountId }) => accountId),
    limiting.map(({ keyId }) => keyId),
    limiting.map(({ counted }) => counted?.throughSeq ?? 0),
  ];
  return { statement: LOAD_USE, values };
}

/** The stored budgets of one account, and the use of those of its keys that are about to get their first limit. */
export function toBudgets(
  accountId: string,
  limiting: readonly SetKeyBudgetCommand[],
  stored: readonly LoadedBudgetRow[],
  uses: readonly UseRow[],
): readonly KeyBudget[] {
  const budgets = new Map<string, KeyBudget>();
  for (const row of stored) if (row.budget_key_id !== null) budgets.set(row.budget_key_id, toBudget(row));
  for (const { accountId: owner, keyId, counted } of limiting) {
    if (owner !== accountId || budgets.has(keyId)) continue;
    const since = uses.filter((row) => row.account_id === accountId && row.key_id === keyId).map(toDayUse);
    budgets.set(keyId, toBudgetOfUse(keyId, [...(counted?.days ?? []), ...since]));
  }
  return [...budgets.values()];
}

/** About a second of reading, so that no statement of a long history comes near its time limit. */
const ROWS_PER_COUNT_MAX = 300_000;

const FIND_HEAD = `
  SELECT seq FROM wallets
   WHERE account_id = $1 AND NOT EXISTS (SELECT FROM key_budgets b WHERE b.account_id = $1 AND b.key_id = $2)`;

const COUNT_USE = sumPerDay(selectUses('$1', '$2', 't.seq > $3 AND t.seq <= $4'));

/**
 * Counts what a key has used in the chain as it is now, without a lock: however long that takes, no command waits for it.
 * Null when there is nothing to count, or when a budget counts it already.
 */
export async function countUse(
  dataSource: DataSource,
  accountId: string,
  keyId: string,
): Promise<CountedUse | null> {
  const [head] = await dataSource.query<{ seq: string }[]>(FIND_HEAD, [accountId, keyId]);
  if (head === undefined) return null;
  const throughSeq = Number(head.seq);
  const days: DayUse[] = [];
  for (let after = 0; after < throughSeq; after += ROWS_PER_COUNT_MAX) {
    const through = Math.min(after + ROWS_PER_COUNT_MAX, throughSeq);
    const rows = await dataSource.query<UseRow[]>(COUNT_USE, [accountId, keyId, after, through]);
    days.push(...rows.map(toDayUse));
  }
  return { throughSeq, days };
}

export function toBudget(row: BudgetRow): KeyBudget {
  return {
    keyId: row.budget_key_id,
    limits: {
      day: toMicrosOrNull(row.day_limit_micros),
      month: toMicrosOrNull(row.month_limit_micros),
      total: toMicrosOrNull(row.total_limit_micros),
    },
    day: row.budget_day,
    used: {
      day: micros(BigInt(row.day_used_micros)),
      month: micros(BigInt(row.month_used_micros)),
      total: micros(BigInt(row.total_used_micros)),
    },
  };
}

function toDayUse({ day, used_micros }: Pick<UseRow, 'day' | 'used_micros'>): DayUse {
  return { day, usedMicros: micros(BigInt(used_micros)) };
}

function toMicrosOrNull(text: string | null): MicroUsd | null {
  return text === null ? null : micros(BigInt(text));
}

import type { DayUse, KeyBudget, CountedUse } from '../../../identity/api-keys/key-budget.js';
import type { DataSource } from 'typeorm';
import { micros, type MicroUsd } from '../../../platform/common/money.js';
import type { Statement, StatementCall } from '../../../platform/database/pipeline.js';
import type { SetKeyBudgetCommand, WalletCommand } from '../rules/command.js';
import { budgetOfUse } from '../rules/key-budget.js';
import { ROW_BY_ROW } from './row-by-row.js';

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

const BUDGET_OF_NAMED = `
  SELECT k.* FROM key_budgets k WHERE k.account_id = named.account_id AND k.key_id = named.key_id ${ROW_BY_ROW}`;

export const LOAD_BUDGETS: Statement = {
  name: 'load_budgets',
  text: `
  SELECT b.account_id, ${BUDGET_COLUMNS}
    FROM unnest($1::text[], $2::text[]) AS named (account_id, key_id), LATERAL (${BUDGET_OF_NAMED}) AS b`,
};

/**
 * What a key used by the chain's rows that a condition on `t` picks: its debits, which name it as their actor, and
 * the captures of its holds, each at the time at which it was authorized. Holds of the time before they named
 * their key are known by the key that captured them.
 */
const usedIn = (accountId: string, keyId: string, picked: string): string => `
  SELECT coalesce(h.created_at, t.created_at) AS used_at, t.amount_micros
    FROM transfers t
    LEFT JOIN LATERAL (SELECT k.created_at, k.key_id FROM holds k
                        WHERE t.kind = 'capture' AND k.account_id = t.account_id
                          AND k.id = substr(t.reference, length('capture:') + 1) ${ROW_BY_ROW}) AS h ON true
   WHERE t.account_id = ${accountId} AND ${picked} AND t.kind IN ('capture', 'debit')
     AND coalesce('account_key:' || h.key_id, t.actor) = 'account_key:' || ${keyId}`;

const perDay = (uses: string): string => `
  SELECT (used_at AT TIME ZONE 'UTC')::date::text AS day, sum(amount_micros)::bigint AS used_micros
    FROM (${uses}) AS uses GROUP BY 1`;

/** Of keys that have no budget yet: what they used behind the rows that were counted before, and hold now. */
export const LOAD_USE: Statement = {
  name: 'load_key_use',
  text: `
  SELECT named.account_id, named.key_id, u.*
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS named (account_id, key_id, through_seq), LATERAL (
      ${perDay(`
      ${usedIn('named.account_id', 'named.key_id', 't.seq > named.through_seq')}
      UNION ALL
      SELECT o.created_at, o.amount_micros FROM holds o
       WHERE o.account_id = named.account_id AND o.key_id = named.key_id AND o.status = 'authorized'`)}
    ) AS u
   WHERE NOT EXISTS (${BUDGET_OF_NAMED})`,
};

export type UseRow = { account_id: string; key_id: string; day: string; used_micros: string };

/** The call that counts the use of keys that are about to be limited; none when there are none. */
export function useOf(named: readonly SetKeyBudgetCommand[]): StatementCall[] {
  if (named.length === 0) return [];
  const values = [
    named.map(({ accountId }) => accountId),
    named.map(({ keyId }) => keyId),
    named.map(({ counted }) => counted?.throughSeq ?? 0),
  ];
  return [{ statement: LOAD_USE, values }];
}

const NO_BUDGETS: readonly KeyBudget[] = [];

/** The stored budgets of one account, and the use of those of its keys that are about to get their first limit. */
export function budgetsOf(
  accountId: string,
  limited: readonly SetKeyBudgetCommand[],
  stored: readonly BudgetRow[],
  uses: readonly UseRow[],
): readonly KeyBudget[] {
  if (limited.length === 0 && stored.length === 0) return NO_BUDGETS;
  const budgets = new Map(stored.map((row) => [row.budget_key_id, toBudget(row)]));
  for (const { accountId: owner, keyId, counted } of limited) {
    if (owner !== accountId || budgets.has(keyId)) continue;
    const since = uses.filter((row) => row.account_id === accountId && row.key_id === keyId).map(toDayUse);
    budgets.set(keyId, budgetOfUse(keyId, [...(counted?.days ?? []), ...since]));
  }
  return [...budgets.values()];
}

/** The commands that limit keys, the first for each: its count is as good as that of the others. */
export function limitingOf(commands: readonly WalletCommand[]): SetKeyBudgetCommand[] {
  const first = new Map<string, SetKeyBudgetCommand>();
  for (const command of commands) {
    if (command.type !== 'setKeyBudget') continue;
    const key = `${command.accountId}\n${command.keyId}`;
    if (!first.has(key)) first.set(key, command);
  }
  return [...first.values()];
}

/** About a second of reading, so that no statement of a long history comes near its time limit. */
const COUNTED_AT_ONCE = 300_000;

const FIND_HEAD = `
  SELECT seq FROM wallets
   WHERE account_id = $1 AND NOT EXISTS (SELECT FROM key_budgets b WHERE b.account_id = $1 AND b.key_id = $2)`;

const COUNT_USE = perDay(usedIn('$1', '$2', 't.seq > $3 AND t.seq <= $4'));

/**
 * Counts what a key has used in the chain as it is now, without a lock: however long that takes, nobody waits.
 * Null when there is nothing to count, or a budget counts it already.
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
  for (let after = 0; after < throughSeq; after += COUNTED_AT_ONCE) {
    const through = Math.min(after + COUNTED_AT_ONCE, throughSeq);
    const rows = await dataSource.query<UseRow[]>(COUNT_USE, [accountId, keyId, after, through]);
    days.push(...rows.map(toDayUse));
  }
  return { throughSeq, days };
}

export function toBudget(row: BudgetRow): KeyBudget {
  return {
    keyId: row.budget_key_id,
    limits: {
      day: microsOrNull(row.day_limit_micros),
      month: microsOrNull(row.month_limit_micros),
      total: microsOrNull(row.total_limit_micros),
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

export function microsOrNull(text: string | null): MicroUsd | null {
  return text === null ? null : micros(BigInt(text));
}

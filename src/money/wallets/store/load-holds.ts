import { encodeTime } from 'ulid';
import { ID_PREFIXES } from '../../../platform/common/ids.js';
import type { Statement, StatementCall } from '../../../platform/database/pipeline.js';
import { micros } from '../../../platform/common/money.js';
import type { AuthorizeCommand } from '../rules/command.js';
import type { Hold, HoldStatus } from '../rules/wallet.js';
import { BUDGET_COLUMNS } from './load-budgets.js';
import { ROW_BY_ROW, toUnixMs } from './sql.js';

export type HoldRow = {
  account_id: string;
  id: string;
  reference: string;
  fingerprint: string;
  key_id: string | null;
  attempt: number | null;
  amount_micros: string;
  captured_micros: string;
  status: HoldStatus;
  memo: string | null;
  created_at_ms: string;
  expires_at_ms: string;
  resolved_at_ms: string | null;
};

const HOLD_COLUMNS = `
  h.account_id, h.id, h.reference, h.fingerprint, h.key_id, h.attempt, h.amount_micros, h.captured_micros, h.status,
  h.memo,
  ${toUnixMs('h.created_at')} AS created_at_ms, ${toUnixMs('h.expires_at')} AS expires_at_ms,
  ${toUnixMs('h.resolved_at')} AS resolved_at_ms`;

export const LOAD_HOLDS_BY_ID: Statement = {
  name: 'load_holds_by_id',
  // Each hold comes with the budget of its key, to which its resolution may give something back; most keys have none.
  text: `
  SELECT h.*, ${BUDGET_COLUMNS} FROM unnest($1::text[], $2::text[]) AS named (account_id, id), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h WHERE h.account_id = named.account_id AND h.id = named.id ${ROW_BY_ROW}) AS h
    LEFT JOIN LATERAL (
    SELECT k.* FROM key_budgets k WHERE k.account_id = h.account_id AND k.key_id = h.key_id ${ROW_BY_ROW}) AS b ON true`,
};

export const LOAD_HOLDS_BY_REFERENCE: Statement = {
  name: 'load_holds_by_reference',
  text: `
  SELECT h.* FROM unnest($1::text[], $2::text[]) AS named (account_id, reference), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h
     WHERE h.account_id = named.account_id AND h.reference = named.reference ${ROW_BY_ROW}) AS h`,
};

/** For attempts at a call: the open holds for the same request of the same API key, by any attempt. */
export const LOAD_HOLDS_OF_CALL: Statement = {
  name: 'load_holds_of_call',
  text: `
  SELECT h.* FROM unnest($1::text[], $2::text[], $3::text[]) AS named (account_id, key_id, fingerprint), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h
     WHERE h.account_id = named.account_id AND h.key_id = named.key_id AND h.fingerprint = named.fingerprint
       AND h.status = 'authorized' ${ROW_BY_ROW}) AS h`,
};

/** For calls whose attempts have no numbers: also the holds that were captured recently. The ids of holds begin with their time. */
export const LOAD_LATE_HOLDS_OF_CALL: Statement = {
  name: 'load_late_holds_of_call',
  text: `
  SELECT h.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                  AS named (account_id, key_id, fingerprint, first_id), LATERAL (
    SELECT ${HOLD_COLUMNS} FROM holds h
     WHERE h.account_id = named.account_id AND h.id >= named.first_id AND h.key_id = named.key_id
       AND h.fingerprint = named.fingerprint AND h.status IN ('authorized', 'captured') ${ROW_BY_ROW}) AS h`,
};

/** Longer than a call holds credit while its process is alive. */
const HELD_FOR_MS = 180_000;

/** The calls that load the holds of other attempts at the same calls. */
export function toHoldsOfCallsCalls(attempts: readonly AuthorizeCommand[]): StatementCall[] {
  const numbered = new Map<string, readonly string[]>();
  const unnumbered = new Map<string, readonly string[]>();
  for (const { accountId, keyId, fingerprint, attempt } of attempts) {
    if (attempt == null || keyId === null) continue;
    const name = `${accountId}\n${keyId}\n${fingerprint}`;
    if (attempt.number !== null) numbered.set(name, [accountId, keyId, fingerprint]);
    else unnumbered.set(name, [accountId, keyId, fingerprint, toHoldId(attempt.beganAtMs - HELD_FOR_MS)]);
  }
  return [
    ...toColumnsCall(LOAD_HOLDS_OF_CALL, [...numbered.values()]),
    ...toColumnsCall(LOAD_LATE_HOLDS_OF_CALL, [...unnumbered.values()]),
  ];
}

/** The least id of a hold that was made at this time. */
function toHoldId(ms: number): string {
  return `${ID_PREFIXES.hold}_${encodeTime(Math.max(ms, 0), 10)}`;
}

function toColumnsCall(statement: Statement, rows: readonly (readonly string[])[]): StatementCall[] {
  const [first] = rows;
  if (first === undefined) return [];
  return [{ statement, values: first.map((_, column) => rows.map((row) => row[column] ?? null)) }];
}

/** Each hold once: a batch may name one by its id and by its reference. */
export function toHolds(rows: readonly HoldRow[]): readonly Hold[] {
  const holds = rows.map(toHold);
  return holds.length < 2 ? holds : [...new Map(holds.map((hold) => [hold.id, hold])).values()];
}

function toHold(row: HoldRow): Hold {
  return {
    id: row.id,
    reference: row.reference,
    fingerprint: row.fingerprint,
    keyId: row.key_id,
    attempt: row.attempt,
    amountMicros: micros(BigInt(row.amount_micros)),
    capturedMicros: micros(BigInt(row.captured_micros)),
    status: row.status,
    memo: row.memo,
    createdAtMs: Number(row.created_at_ms),
    expiresAtMs: Number(row.expires_at_ms),
    resolvedAtMs: row.resolved_at_ms === null ? null : Number(row.resolved_at_ms),
  };
}

import { micros } from '../../common/money.js';
import type { Statement, StatementCall } from '../../database/pipeline.js';
import type { WalletCommand } from '../rules/command.js';
import type { Relief } from '../rules/wallet.js';

export type ReliefRow = {
  account_id: string;
  seq: string;
  reference: string;
  kind: Relief['kind'];
  amount_micros: string;
  owed_beside_micros: string;
  undone_micros: string;
};

export const LOAD_RELIEFS: Statement = {
  name: 'load_reliefs',
  text: `
  SELECT account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros
    FROM debt_reliefs WHERE account_id = ANY($1::text[]) AND undone_micros < amount_micros`,
};

/** The call that loads the reliefs of the accounts whose commands depend on them; most batches have none. */
export function reliefsOf(commands: readonly WalletCommand[]): StatementCall[] {
  const accountIds = new Set<string>();
  for (const { type, accountId } of commands) {
    if (type === 'reinstate' || type === 'writeOff') accountIds.add(accountId);
  }
  return accountIds.size === 0 ? [] : [{ statement: LOAD_RELIEFS, values: [[...accountIds]] }];
}

const NO_RELIEFS: readonly Relief[] = [];

export function toReliefs(rows: readonly ReliefRow[] | undefined): readonly Relief[] {
  return rows === undefined ? NO_RELIEFS : rows.map(toRelief);
}

function toRelief(row: ReliefRow): Relief {
  return {
    seq: Number(row.seq),
    reference: row.reference,
    kind: row.kind,
    amountMicros: micros(BigInt(row.amount_micros)),
    owedBesideMicros: micros(BigInt(row.owed_beside_micros)),
    undoneMicros: micros(BigInt(row.undone_micros)),
  };
}

import { micros, microsToCentsExact } from '../../../platform/common/money.js';
import type { Statement } from '../../../platform/database/pipeline.js';
import type { TransferKind } from '../../ledger/transfer.js';
import type { Relief, ReturnedMoney } from '../rules/wallet.js';
import { ROW_BY_ROW } from './sql.js';

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
    FROM debt_reliefs WHERE account_id = ANY($1::text[]) `,
};

export type ReturnedLedgerRow = {
  account_id: string;
  seq: string;
  reference: string;
  kind: TransferKind;
  amount_micros: string;
  is_given: boolean;
};

/** A semicolon comes next after a colon. */
export const LOAD_RETURNED: Statement = {
  name: 'load_returned',
  text: `
  SELECT t.* FROM unnest($1::text[]) AS named (account_id), unnest(ARRAY['dispute', 'refund']) AS source (name), LATERAL (
    SELECT t.account_id, t.seq, t.reference, t.kind, t.amount_micros,
           t.kind = 'reinstatement' AND EXISTS (
             SELECT FROM credit_lots l WHERE l.account_id = t.account_id AND l.id = t.lot_id AND NOT l.refundable) AS is_given
      FROM transfers t
     WHERE t.account_id = named.account_id AND t.reference >= source.name || ':' AND t.reference < source.name || ';'
    ${ROW_BY_ROW}) AS t`,
};

export type PaymentRow = {
  account_id: string;
  source: string;
  id: string;
  credit_micros: string;
  fee_micros: string;
  tax_micros: string;
};

/** What each refund and dispute is of: that never changes, so no lock is needed. */
export const LOAD_PAYMENTS: Statement = {
  name: 'load_returned_payments',
  text: `
  SELECT s.account_id, s.source, u.id, u.credit_micros, u.fee_micros, coalesce(u.tax_micros, 0) AS tax_micros
    FROM (SELECT account_id, 'dispute:' || id AS source, top_up_id FROM disputes WHERE account_id = ANY($1::text[])
          UNION ALL
          SELECT account_id, 'refund:' || id, top_up_id FROM refunds WHERE account_id = ANY($1::text[])) s
    JOIN top_ups u ON u.account_id = s.account_id AND u.id = s.top_up_id`,
};

export function toRelief(row: ReliefRow): Relief {
  return {
    seq: Number(row.seq),
    reference: row.reference,
    kind: row.kind,
    amountMicros: micros(BigInt(row.amount_micros)),
    stillOwedMicros: micros(BigInt(row.owed_beside_micros)),
    undoneMicros: micros(BigInt(row.undone_micros)),
  };
}

export function toReturnedMoney(
  rows: readonly ReturnedLedgerRow[] | undefined,
  payments: readonly PaymentRow[] | undefined,
): ReturnedMoney {
  const inCents = (text: string) => microsToCentsExact(micros(BigInt(text)));
  return {
    rows: (rows ?? [])
      .map(({ seq, reference, kind, amount_micros, is_given }) => ({
        ...{ reference, kind, isGiven: is_given },
        ...{ seq: Number(seq), amountMicros: micros(BigInt(amount_micros)) },
      }))
      .sort((a, b) => a.seq - b.seq),
    payments: new Map(
      (payments ?? []).map(({ source, id, credit_micros, fee_micros, tax_micros }) => {
        const fee = { feeCents: inCents(fee_micros), taxCents: inCents(tax_micros) };
        return [source, { id, paid: { creditCents: inCents(credit_micros), ...fee } }];
      }),
    ),
  };
}

import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { Snapshot } from '../../platform/database/snapshot.js';
import { CLEARING, NAMED, REPORTED_ID } from './reconciliation.js';

/** A report is over a month or a year, never over more than the doctor could read. */
const SNAPSHOT = { statementSecondsMax: 60, idleSecondsMax: 30 } as const;
/** No one reads more differences than this at a time. The totals count all of them. */
const DIFFERENCES_MAX = 100;

/**
 * Each balance transaction of the range with what the ledger moved for it: our own part, and the customer's. Where one
 * event has several balance transactions, its money counts for the first of them.
 */
const COMPARED = `
  WITH clearing AS MATERIALIZED (${CLEARING}),
  -- What Stripe kept, what went to the bank, and what no customer was credited with.
  own AS MATERIALIZED (
    SELECT ${REPORTED_ID} AS id, sum(moved_micros) AS moved_micros FROM clearing WHERE account_id = 'acct_platform' GROUP BY 1),
  reported AS (
    SELECT n.*, row_number() OVER (PARTITION BY n.account_id, n.reference ORDER BY n.created_at, n.id) AS place
      FROM (${NAMED}) n),
  compared AS (
    SELECT t.id, t.type, t.reporting_category, t.source_id, t.account_id, t.reference, t.created_at,
           t.amount_cents * 10000 AS amount_micros, t.fee_cents * 10000 AS fee_micros, t.net_cents * 10000 AS net_micros,
           coalesce(own.moved_micros, 0) + CASE WHEN t.place = 1 THEN coalesce(theirs.moved_micros, 0) ELSE 0 END AS booked_micros
      FROM reported t
      LEFT JOIN own ON own.id = t.id
      LEFT JOIN clearing theirs ON theirs.account_id = t.account_id AND theirs.reference = t.reference
     WHERE t.created_at >= coalesce($1::timestamptz, '-infinity') AND t.created_at < coalesce($2::timestamptz, 'infinity'))`;

const CATEGORIES = `${COMPARED}
  SELECT reporting_category, count(*), sum(amount_micros), sum(fee_micros), sum(net_micros), sum(booked_micros)
    FROM compared GROUP BY reporting_category ORDER BY reporting_category COLLATE "C"`;

const DIFFERENCES = `${COMPARED}
  SELECT id, type, source_id, account_id, reference, extract(epoch FROM created_at)::bigint, net_micros, booked_micros
    FROM compared WHERE net_micros <> booked_micros ORDER BY created_at, id LIMIT ${DIFFERENCES_MAX + 1}`;

const TOTALS = `
  SELECT (SELECT coalesce(sum(moved_micros), 0) FROM (${CLEARING}) c),
         (SELECT coalesce(sum(CASE credit_account WHEN 'unapplied_payments' THEN amount_micros ELSE -amount_micros END), 0)
            FROM transfers WHERE account_id = 'acct_platform' AND 'unapplied_payments' IN (debit_account, credit_account)),
         (SELECT coalesce(sum(net_cents), 0) * 10000 FROM stripe_balance_transactions WHERE currency = 'usd'),
         (SELECT count(*) FROM stripe_balance_transactions WHERE currency <> 'usd'),
         (SELECT extract(epoch FROM max(complete_until))::bigint FROM stripe_balance_cursors)`;

export type ReconciledCategory = {
  readonly reportingCategory: string;
  readonly count: number;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly netMicros: MicroUsd;
  readonly bookedMicros: MicroUsd;
};

export type Difference = {
  readonly id: string;
  readonly type: string;
  readonly sourceId: string | null;
  readonly accountId: string | null;
  readonly reference: string | null;
  readonly createdSeconds: number;
  readonly netMicros: MicroUsd;
  readonly bookedMicros: MicroUsd;
};

export type StripeReconciliation = {
  readonly categories: readonly ReconciledCategory[];
  readonly differences: readonly Difference[];
  readonly hasMoreDifferences: boolean;
  /** The sums of the whole ledger and of all that Stripe ever reported, for any range. */
  readonly ledgerMicros: MicroUsd;
  /** Payments that no customer was credited with and that were not refunded. */
  readonly unappliedMicros: MicroUsd;
  readonly stripeMicros: MicroUsd;
  readonly otherCurrencies: number;
  /** Null until Stripe's list was read for the first time. */
  readonly completeUntilSeconds: number | null;
};

/** Compares the ledger's account at Stripe with the balance that Stripe reports. */
@Injectable()
export class StripeReconciliationService {
  constructor(private readonly dataSource: DataSource) {}

  /** Reports as of one moment. The range is in Stripe's times; it includes `from` and excludes `to`, and null is no limit. */
  async reconcile(from: string | null, to: string | null): Promise<StripeReconciliation> {
    const snapshot = await Snapshot.ofPool(this.dataSource, SNAPSHOT);
    try {
      const categories = await snapshot.rows(CATEGORIES, [from, to]);
      const differences = await snapshot.rows(DIFFERENCES, [from, to]);
      const [totals = []] = await snapshot.rows(TOTALS);
      const [ledger, unapplied, stripe, otherCurrencies, completeUntil] = totals;
      return {
        categories: categories.map(([category, count, amount, fee, net, booked]) => ({
          reportingCategory: category ?? '',
          count: Number(count),
          amountMicros: toMicros(amount),
          feeMicros: toMicros(fee),
          netMicros: toMicros(net),
          bookedMicros: toMicros(booked),
        })),
        differences: differences.slice(0, DIFFERENCES_MAX).map(toDifference),
        hasMoreDifferences: differences.length > DIFFERENCES_MAX,
        ledgerMicros: toMicros(ledger),
        unappliedMicros: toMicros(unapplied),
        stripeMicros: toMicros(stripe),
        otherCurrencies: Number(otherCurrencies),
        completeUntilSeconds: completeUntil == null ? null : Number(completeUntil),
      };
    } finally {
      await snapshot.close();
    }
  }
}

function toDifference(row: readonly (string | null)[]): Difference {
  const [id, type, sourceId = null, accountId = null, reference = null, created, net, booked] = row;
  return {
    id: id ?? '',
    type: type ?? '',
    sourceId,
    accountId,
    reference,
    createdSeconds: Number(created),
    netMicros: toMicros(net),
    bookedMicros: toMicros(booked),
  };
}

/** PostgreSQL sends sums of integers as text. */
function toMicros(text: string | null | undefined): MicroUsd {
  return micros(BigInt(text ?? '0'));
}

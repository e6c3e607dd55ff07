import { ApiProperty } from '@nestjs/swagger';
import { MicroUsdView, ObjectTypeView, TextField, TimeView } from '../../platform/common/fields.js';
import { formatMicros, subtract } from '../../platform/common/money.js';
import type {
  Difference,
  ReconciledCategory,
  StripeReconciliation,
} from './stripe-reconciliation.service.js';

export class StripeReconciliationQuery {
  @TextField({
    description:
      "First moment, by Stripe's clock: a date (midnight UTC) or an ISO 8601 time. Absent: from the first.",
    max: 40,
    optional: true,
    example: '2026-11-01',
  })
  declare readonly from?: string;

  @TextField({
    description:
      'The end of the range, which is not included and must be later than `from`. Absent: to the last.',
    max: 40,
    optional: true,
    example: '2026-12-01',
  })
  declare readonly to?: string;
}

export class ReconciledCategoryView {
  @ApiProperty({ description: "Stripe's reporting category.", example: 'charge' })
  declare readonly reporting_category: string;
  @ApiProperty({ description: 'The number of balance transactions.', type: 'integer', example: 12 })
  declare readonly count: number;
  @MicroUsdView('What moved into the balance at Stripe; negative out of it.', '126000000')
  declare readonly amount_micros: string;
  @MicroUsdView('What Stripe kept of it.', '7200000')
  declare readonly fee_micros: string;
  @MicroUsdView('Amount less fee.', '118800000')
  declare readonly net_micros: string;
  @MicroUsdView('What the ledger moved for it in `stripe_clearing`.', '118800000')
  declare readonly booked_micros: string;
  @MicroUsdView('Net less booked; 0 when the two agree.', '0')
  declare readonly difference_micros: string;
}

export class ReconciliationDifferenceView {
  @ApiProperty({ description: "Stripe's balance transaction.", example: 'txn_1P0000000000000000000000' })
  declare readonly balance_transaction: string;
  @ApiProperty({ description: "Stripe's type of the balance transaction.", example: 'charge' })
  declare readonly type: string;
  @ApiProperty({
    description: 'The charge, refund, dispute or payout that moved the money.',
    type: 'string',
    nullable: true,
    example: 'ch_1P0000000000000000000000',
  })
  declare readonly source: string | null;
  @ApiProperty({
    description:
      'The account in whose book it belongs; null when it belongs to no customer, or no customer was credited with it.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly account: string | null;
  @ApiProperty({
    description: 'The reference of that book under which it belongs.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly reference: string | null;
  @TimeView("When Stripe created it, in Unix seconds by Stripe's clock.")
  declare readonly created: number;
  @MicroUsdView('What it moved at Stripe, less the fee.', '9900000')
  declare readonly net_micros: string;
  @MicroUsdView('What the ledger moved for it.', '0')
  declare readonly booked_micros: string;
  @MicroUsdView('Net less booked.', '9900000')
  declare readonly difference_micros: string;
}

export class StripeReconciliationView {
  @ObjectTypeView('stripe_reconciliation')
  declare readonly object: 'stripe_reconciliation';
  @ApiProperty({
    description:
      "Until when, Unix seconds, every balance transaction of Stripe is known here; null before Stripe's list was ever read.",
    type: 'integer',
    nullable: true,
    example: 1_795_000_000,
  })
  declare readonly complete_until: number | null;
  @ApiProperty({ description: "By Stripe's reporting category.", type: () => [ReconciledCategoryView] })
  declare readonly categories: readonly ReconciledCategoryView[];
  @ApiProperty({
    description: 'The balance transactions that do not agree with the ledger, oldest first; at most 100.',
    type: () => [ReconciliationDifferenceView],
  })
  declare readonly differences: readonly ReconciliationDifferenceView[];
  @ApiProperty({ description: 'Whether there are more differences than are listed.', example: false })
  declare readonly has_more_differences: boolean;
  @MicroUsdView("The ledger's `stripe_clearing` now, for any range.", '118800000')
  declare readonly ledger_micros: string;
  @MicroUsdView(
    'Payments that no customer was credited with and that were not refunded: the ledger’s `unapplied_payments` now, for any range.',
    '0',
  )
  declare readonly unapplied_micros: string;
  @MicroUsdView('The sum of all balance transactions of Stripe now, for any range.', '118800000')
  declare readonly stripe_micros: string;
  @MicroUsdView('Stripe less ledger: money that is not booked yet, or an error.', '0')
  declare readonly difference_micros: string;
  @ApiProperty({
    description: 'Balance transactions in other currencies, which the ledger does not count.',
    type: 'integer',
    example: 0,
  })
  declare readonly other_currencies: number;
}

export function toStripeReconciliationView(report: StripeReconciliation): StripeReconciliationView {
  return {
    object: 'stripe_reconciliation',
    complete_until: report.completeUntilSeconds,
    categories: report.categories.map(toCategoryView),
    differences: report.differences.map(toDifferenceView),
    has_more_differences: report.hasMoreDifferences,
    ledger_micros: formatMicros(report.ledgerMicros),
    unapplied_micros: formatMicros(report.unappliedMicros),
    stripe_micros: formatMicros(report.stripeMicros),
    difference_micros: formatMicros(subtract(report.stripeMicros, report.ledgerMicros)),
    other_currencies: report.otherCurrencies,
  };
}

function toCategoryView(category: ReconciledCategory): ReconciledCategoryView {
  return {
    reporting_category: category.reportingCategory,
    count: category.count,
    amount_micros: formatMicros(category.amountMicros),
    fee_micros: formatMicros(category.feeMicros),
    net_micros: formatMicros(category.netMicros),
    booked_micros: formatMicros(category.bookedMicros),
    difference_micros: formatMicros(subtract(category.netMicros, category.bookedMicros)),
  };
}

function toDifferenceView(difference: Difference): ReconciliationDifferenceView {
  return {
    balance_transaction: difference.id,
    type: difference.type,
    source: difference.sourceId,
    account: difference.accountId,
    reference: difference.reference,
    created: difference.createdSeconds,
    net_micros: formatMicros(difference.netMicros),
    booked_micros: formatMicros(difference.bookedMicros),
    difference_micros: formatMicros(subtract(difference.netMicros, difference.bookedMicros)),
  };
}

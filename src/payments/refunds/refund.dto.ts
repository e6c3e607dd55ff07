import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import {
  BooleanField,
  IntegerField,
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
} from '../../platform/common/fields.js';
import { ListView } from '../../platform/common/pagination.js';
import { centsToMicros, formatMicros } from '../../platform/common/money.js';
import { CHARGE_MAX_CENTS } from '../top-ups/quote.js';
import { computeCharge } from '../../money/wallets/rules/payment-parts.js';
import { REFUND_STATUSES, type PublishedStatus } from './refund.machine.js';
import type { Refund, RefundPreview } from './refund.js';

export class RefundRequest {
  @IntegerField({
    description:
      'How much credit goes back, in whole US cents; its share of the platform fee comes on top. All that can be ' +
      'refunded when absent.',
    min: 1,
    max: Number(CHARGE_MAX_CENTS),
    optional: true,
    example: 500,
  })
  declare readonly credit_cents?: number | null;

  @TextField({ description: 'Why, for the books.', max: 500, optional: true, example: 'no longer needed' })
  declare readonly reason?: string | null;

  @BooleanField({
    description: 'Only return what would be refunded; nothing moves. False when absent.',
    optional: true,
    example: false,
  })
  declare readonly preview?: boolean | null;
}

export class RefundView {
  @ObjectTypeView('refund')
  declare readonly object: 'refund';
  @ApiProperty({
    description: 'Id of the refund; null for a preview.',
    type: 'string',
    nullable: true,
    example: 're_01KB2H7Q0000000000000000AA',
  })
  declare readonly id: string | null;
  @ApiProperty({ description: 'Of which top-up.', example: 'tu_01KB2H7Q0000000000000000AA' })
  declare readonly top_up: string;
  @ApiProperty({
    description:
      '`created` and `pending` are under way; `succeeded` is paid back; `failed` was not, and the credit is in the ' +
      'wallet again; `refused` never left; `needs_review` is looked at again; `preview` moved nothing.',
    enum: [...REFUND_STATUSES.filter((status) => status !== 'failing'), 'preview'],
    example: 'succeeded',
  })
  declare readonly status: PublishedStatus | 'preview';
  @MicroUsdView('The credit that leaves the wallet.', '5000000')
  declare readonly credit_micros: string;
  @MicroUsdView('The share of the platform fee that comes back with it.', '250000')
  declare readonly fee_micros: string;
  @MicroUsdView('The share of the sales tax that comes back with it.', '0')
  declare readonly tax_micros: string;
  @MicroUsdView(
    'What went back beyond what was left of the payment, by a refund made in Stripe’s dashboard: our loss, not the wallet’s.',
    '0',
  )
  declare readonly excess_micros: string;
  @ApiProperty({
    description: 'What the customer gets, in cents: credit, fee share, tax share, and what goes beyond them.',
    example: 525,
  })
  declare readonly amount_cents: number;
  @ApiProperty({
    description: "What of the top-up's credit is not refunded after this, in cents; only in a preview.",
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly remaining_cents: number | null;
  @ApiProperty({ description: 'Why it failed.', type: 'string', nullable: true, example: null })
  declare readonly failure_code: string | null;
  @TimeView('When it was asked for, Unix seconds; for a preview, now.')
  declare readonly created: number;
}

export class RefundWriteOffView {
  @ObjectTypeView('write_off')
  declare readonly object: 'write_off';
  @ApiProperty({ description: 'Of which refund.', example: 're_01KB2H7Q0000000000000000AA' })
  declare readonly refund: string;
  @MicroUsdView(
    'What was given up, now or the first time with the same key; 0 when there was nothing to give up.',
    '9000000',
  )
  declare readonly amount_micros: string;
}

export class RefundListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [RefundView] })
  declare readonly data: readonly RefundView[];
}

export function toRefundView(refund: Refund): RefundView {
  return {
    object: 'refund',
    id: refund.id,
    top_up: refund.topUpId,
    status: refund.status === 'failing' ? 'pending' : refund.status,
    credit_micros: formatMicros(refund.creditMicros),
    fee_micros: formatMicros(refund.feeMicros),
    tax_micros: formatMicros(refund.taxMicros),
    excess_micros: formatMicros(refund.excessMicros),
    // The amount has at most eight digits, so it is exact as a JSON number.
    amount_cents: Number(refund.amountCents),
    remaining_cents: null,
    failure_code: refund.failureCode,
    created: toUnixSeconds(refund.createdAt),
  };
}

export function toPreviewView(
  topUpId: string,
  { parts, creditLeftCents }: RefundPreview,
  nowMs: number,
): RefundView {
  return {
    object: 'refund',
    id: null,
    top_up: topUpId,
    status: 'preview',
    credit_micros: formatMicros(centsToMicros(parts.creditCents)),
    fee_micros: formatMicros(centsToMicros(parts.feeCents)),
    tax_micros: formatMicros(centsToMicros(parts.taxCents)),
    // A refund that is requested here never goes beyond the payment.
    excess_micros: '0',
    amount_cents: Number(computeCharge(parts)),
    remaining_cents: Number(creditLeftCents),
    failure_code: null,
    created: Math.floor(nowMs / 1_000),
  };
}

export function toRefundList(topUpId: string, refunds: readonly Refund[]): RefundListView {
  const data = [...refunds].reverse().map(toRefundView);
  return { object: 'list', url: `/v1/top_ups/${topUpId}/refunds`, has_more: false, data };
}

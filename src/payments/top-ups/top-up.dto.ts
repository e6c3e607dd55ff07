import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import {
  BooleanField,
  IntegerField,
  MicroUsdView,
  ObjectTypeView,
  TimeView,
  WebUrlField,
} from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import { formatMicros } from '../../platform/common/money.js';
import { CHARGE_MAX_CENTS } from './quote.js';
import {
  SAVED_CARD_WORDS,
  TOP_UP_FAILURES,
  TOP_UP_KINDS,
  type TopUp,
  type TopUpFailure,
  type TopUpKind,
} from './top-up.js';
import { TOP_UP_STATUSES, type TopUpStatus } from './top-up.machine.js';

export class TopUpRequest {
  @IntegerField({
    description:
      'Whole US cents. With the fee on top (the default), the credit to buy: 1000 buys $10.00 and costs $10.50. ' +
      'With `TOP_UP_FEE_MODE=deducted`, what is paid: 1000 costs $10.00 and buys $9.50.',
    min: 1,
    max: Number(CHARGE_MAX_CENTS),
    example: 1_000,
  })
  declare readonly credit_cents: number;

  @BooleanField({
    description:
      'Save the card for payments without the customer present, such as auto top-up; false when absent. `true` says ' +
      `that the customer agreed to it: "${SAVED_CARD_WORDS.text}"`,
    optional: true,
    example: false,
  })
  declare readonly save_card?: boolean | null;

  @WebUrlField({
    description: 'Where the payment page leads after paying; a page of this service when absent.',
    optional: true,
    example: 'https://example.com/billing/thanks',
  })
  declare readonly success_url?: string | null;

  @WebUrlField({
    description:
      'Where the payment page leads when the customer goes back; a page of this service when absent.',
    optional: true,
    example: 'https://example.com/billing',
  })
  declare readonly cancel_url?: string | null;
}

export class TopUpView {
  @ObjectTypeView('top_up')
  declare readonly object: 'top_up';
  @ApiProperty({ description: 'Id of the top-up.', example: 'tu_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({
    description: 'Paid on a payment page, or by `auto` top-up with the saved card.',
    enum: TOP_UP_KINDS,
    example: 'checkout',
  })
  declare readonly kind: TopUpKind;
  @ApiProperty({
    description:
      '`pending` can be paid; `processing` was paid by a method that takes days; `paid` is in the wallet; ' +
      '`needs_review` waits for a decision of support; `rejected` was decided, and brings no credit.',
    enum: TOP_UP_STATUSES,
    example: 'pending',
  })
  declare readonly status: TopUpStatus;
  @MicroUsdView('The credit that the wallet gets.', '10000000')
  declare readonly credit_micros: string;
  @MicroUsdView('The platform fee, which is paid once, with the top-up.', '500000')
  declare readonly fee_micros: string;
  @ApiProperty({
    description: 'The charge before tax, in cents: credit plus fee.',
    type: 'integer',
    example: 1_050,
  })
  declare readonly charge_cents: number;
  @MicroUsdView('Sales tax that was paid in addition; 0 until it is paid, and where none is collected.', '0')
  declare readonly tax_micros: string;
  @ApiProperty({ description: 'Always US dollars.', enum: ['usd'] })
  declare readonly currency: 'usd';
  @ApiProperty({
    description: 'The page where the customer pays, while it is `pending`.',
    type: 'string',
    format: 'uri',
    nullable: true,
    example: 'https://checkout.stripe.com/c/pay/cs_live_a1b2c3',
  })
  declare readonly checkout_url: string | null;
  @ApiProperty({
    description: "Stripe's page with the paid invoice and its PDF; null until it is paid.",
    type: 'string',
    format: 'uri',
    nullable: true,
    example: null,
  })
  declare readonly invoice_url: string | null;
  @ApiProperty({
    description: "Stripe's receipt; null until it is paid.",
    type: 'string',
    format: 'uri',
    nullable: true,
    example: null,
  })
  declare readonly receipt_url: string | null;
  @ApiProperty({ description: 'Whether the card is saved.', example: false })
  declare readonly save_card: boolean;
  @ApiProperty({
    description: 'Why it is not paid, once that is known.',
    enum: TOP_UP_FAILURES,
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly failure_code: TopUpFailure | null;
  @ApiProperty({
    description: "The issuer's reason for a declined card, such as `insufficient_funds`.",
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly decline_code: string | null;
  @ApiProperty({ description: 'False for play money.', example: true })
  declare readonly livemode: boolean;
  @TimeView('When it was requested, in Unix seconds.')
  declare readonly created: number;
  @TimeView('Until when it can be paid, in Unix seconds.')
  declare readonly expires_at: number;
  @ApiProperty({
    description: 'When the credit was posted to the wallet, in Unix seconds.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly paid_at: number | null;
}

export class TopUpListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [TopUpView] })
  declare readonly data: readonly TopUpView[];
}

export function toTopUpView(topUp: TopUp): TopUpView {
  return {
    object: 'top_up',
    id: topUp.id,
    kind: topUp.kind,
    status: topUp.status,
    credit_micros: formatMicros(topUp.creditMicros),
    fee_micros: formatMicros(topUp.feeMicros),
    // The amount has at most eight digits, so it is exact as a JSON number.
    charge_cents: Number(topUp.chargeCents),
    tax_micros: formatMicros(topUp.taxMicros),
    currency: 'usd',
    checkout_url: topUp.status === 'pending' ? topUp.checkoutUrl : null,
    invoice_url: topUp.invoiceUrl,
    receipt_url: topUp.receiptUrl,
    save_card: topUp.saveCard,
    failure_code: topUp.failureCode,
    decline_code: topUp.declineCode,
    livemode: topUp.livemode,
    created: toUnixSeconds(topUp.createdAt),
    expires_at: toUnixSeconds(topUp.expiresAt),
    paid_at: topUp.paidAt === null ? null : toUnixSeconds(topUp.paidAt),
  };
}

export function toTopUpList(page: Page<TopUp>): TopUpListView {
  return { object: 'list', url: '/v1/top_ups', has_more: page.hasMore, data: page.data.map(toTopUpView) };
}

import { ApiProperty } from '@nestjs/swagger';
import { TopUpView } from '../top-ups/top-up.dto.js';
import { MicroUsdView, ObjectTypeView } from '../../platform/common/fields.js';
import { formatMicros } from '../../platform/common/money.js';
import { OFF_REASONS, type AutoTopUpTerms, type OffReason } from './auto-top-up.js';

const REASONS = Object.keys(OFF_REASONS);

/** The data of `auto_top_up.failed`. */
export class AutoTopUpFailureView {
  @ObjectTypeView('auto_top_up_failure')
  declare readonly object: 'auto_top_up_failure';
  @ApiProperty({ description: 'The top-up that was not paid.', type: () => TopUpView })
  declare readonly top_up: TopUpView;
  @ApiProperty({ description: 'The status of auto top-up after this failure.', example: 'on' })
  declare readonly auto_top_up_status: string;
  @ApiProperty({
    description: 'Why it is off, when it is.',
    type: 'string',
    enum: [...REASONS, null],
    nullable: true,
    example: null,
  })
  declare readonly off_reason: OffReason | null;
  @ApiProperty({
    description: 'The payment page where the customer pays instead; null when there is none.',
    type: 'string',
    nullable: true,
    example: 'https://checkout.stripe.com/c/pay/cs_live_a1b2c3',
  })
  declare readonly action_url: string | null;
  @ApiProperty({
    description: 'When the card is charged again, in Unix seconds; null when it is not.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly retry_at: number | null;
}

/** The data of `auto_top_up.disabled`. */
export class AutoTopUpOffView {
  @ObjectTypeView('auto_top_up')
  declare readonly object: 'auto_top_up';
  @ApiProperty({ description: 'Always `off`.', enum: ['off'] })
  declare readonly status: 'off';
  @ApiProperty({ description: 'Why it is off.', enum: REASONS })
  declare readonly off_reason: OffReason;
  @ApiProperty({
    description: 'The reason as a sentence for people.',
    example: 'The account switched it off.',
  })
  declare readonly message: string;
  @ApiProperty({
    description: 'The top-up whose failure switched it off; null when no failure did.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly top_up: string | null;
  @ApiProperty({ description: 'False for play money.', example: true })
  declare readonly livemode: boolean;
}

const Count = (description: string, example: number) =>
  ApiProperty({ description, type: 'integer', example });

/** The terms that limit what may be charged. */
export class AutoTopUpTermsView {
  @MicroUsdView('Available credit below this is topped up, in micro-USD.', '5000000')
  declare readonly threshold_micros: string;
  @Count('What each top-up buys, in cents.', 2_000)
  declare readonly credit_cents: number;
  @Count('Charges in a UTC day, at most.', 3)
  declare readonly daily_max_count: number;
  @Count('Cents from the card in a UTC day, at most.', 6_300)
  declare readonly daily_max_charge_cents: number;
  @Count('Charges in a UTC month, at most.', 30)
  declare readonly monthly_max_count: number;
  @Count('Cents from the card in a UTC month, at most.', 30_000)
  declare readonly monthly_max_charge_cents: number;
  @Count('Seconds from one charge to the next, at least.', 300)
  declare readonly cooldown_seconds: number;
}

/** The data of `auto_top_up.updated`. */
export class AutoTopUpChangeView extends AutoTopUpTermsView {
  @ObjectTypeView('auto_top_up_change')
  declare readonly object: 'auto_top_up_change';
  @ApiProperty({ description: 'Always `on`.', enum: ['on'] })
  declare readonly status: 'on';
  @ApiProperty({
    description: 'The key that changed it.',
    example: 'account_key:key_01KB2H7Q0000000000000000AA',
  })
  declare readonly changed_by: string;
  @ApiProperty({ description: 'The last digits of the card that is charged.', example: '4242' })
  declare readonly card_last4: string;
  @ApiProperty({
    description: 'What each top-up takes from the card, in cents, at the present fee.',
    type: 'integer',
    nullable: true,
    example: 2_100,
  })
  declare readonly charge_cents: number | null;
  @ApiProperty({
    description: 'The terms before; null when automatic top-up was off.',
    type: () => AutoTopUpTermsView,
    nullable: true,
  })
  declare readonly previous: AutoTopUpTermsView | null;
  @ApiProperty({ description: 'False for play money.', example: true })
  declare readonly livemode: boolean;
}

/** Caps are below 2^53, so they are exact as numbers. */
export function toTermsData(terms: AutoTopUpTerms) {
  return {
    threshold_micros: formatMicros(terms.thresholdMicros),
    credit_cents: Number(terms.amountCents),
    daily_max_count: terms.dailyMaxCount,
    daily_max_charge_cents: Number(terms.dailyMaxCents),
    monthly_max_count: terms.monthlyMaxCount,
    monthly_max_charge_cents: Number(terms.monthlyMaxCents),
    cooldown_seconds: terms.cooldownSeconds,
  } satisfies AutoTopUpTermsView;
}

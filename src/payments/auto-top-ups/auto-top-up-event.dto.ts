import { ApiProperty } from '@nestjs/swagger';
import { TopUpView } from '../top-ups/top-up.dto.js';
import { MicroUsdView, ObjectTypeView } from '../../platform/common/fields.js';
import { formatMicros } from '../../platform/common/money.js';
import { OFF_REASONS, type AutoTopUpTerms, type OffReason } from './auto-top-up.js';

const REASONS = Object.keys(OFF_REASONS);

/** What `auto_top_up.failed` tells. */
export class AutoTopUpFailureView {
  @ObjectTypeView('auto_top_up_failure')
  declare readonly object: 'auto_top_up_failure';
  @ApiProperty({ description: 'The top-up that was not paid.', type: () => TopUpView })
  declare readonly top_up: TopUpView;
  @ApiProperty({ description: 'How auto top-up goes on.', example: 'on' })
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
    description: 'Where the customer pays instead; null: nothing is to be done there.',
    type: 'string',
    nullable: true,
    example: 'https://checkout.stripe.com/c/pay/cs_live_a1b2c3',
  })
  declare readonly action_url: string | null;
  @ApiProperty({
    description: 'When the card is charged again, Unix seconds; null: it is not.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly retry_at: number | null;
}

/** What `auto_top_up.disabled` tells. */
export class AutoTopUpOffView {
  @ObjectTypeView('auto_top_up')
  declare readonly object: 'auto_top_up';
  @ApiProperty({ description: 'Always `off`.', enum: ['off'] })
  declare readonly status: 'off';
  @ApiProperty({ description: 'Why.', enum: REASONS })
  declare readonly off_reason: OffReason;
  @ApiProperty({ description: 'The same for people.', example: 'Switched off by the account.' })
  declare readonly message: string;
  @ApiProperty({
    description: 'The top-up whose failure switched it off; null: there is none.',
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

/** What may be charged. */
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

/** What `auto_top_up.updated` tells. */
export class AutoTopUpChangeView extends AutoTopUpTermsView {
  @ObjectTypeView('auto_top_up_change')
  declare readonly object: 'auto_top_up_change';
  @ApiProperty({ description: 'Always `on`.', enum: ['on'] })
  declare readonly status: 'on';
  @ApiProperty({ description: 'With which key.', example: 'account_key:key_01KB2H7Q0000000000000000AA' })
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
    description: 'What was agreed before; null: automatic top-up was off.',
    type: () => AutoTopUpTermsView,
    nullable: true,
  })
  declare readonly previous: AutoTopUpTermsView | null;
  @ApiProperty({ description: 'False for play money.', example: true })
  declare readonly livemode: boolean;
}

/** Caps are below 2^53. */
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

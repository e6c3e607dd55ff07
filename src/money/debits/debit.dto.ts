import { ApiProperty } from '@nestjs/swagger';
import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import {
  IntegerField,
  MicroUsdField,
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
} from '../../platform/common/fields.js';

/** More images than one gateway call creates. */
export const IMAGES_MAX = 1_000;
/** A batch that leaves capacity in the engine's queue for other callers. */
export const BATCH_ITEMS_MAX = 1_000;
export const HOLD_SECONDS_MIN = 30;
export const HOLD_SECONDS_MAX = 86_400;
/** Longer than any image call takes, and short enough that the credit is released soon after a gateway crashes. */
export const HOLD_SECONDS_DEFAULT = 900;

const REFERENCE_PATTERN = /^[\x21-\x7e]+$/;
const ACCOUNT_FIELD = {
  description: 'The account that pays.',
  max: 64,
  example: 'acct_01KB2H7Q0000000000000000AA',
};

/** What is charged: a model and a number of images, which we price, or an amount. */
export class ChargeRequest {
  @TextField(ACCOUNT_FIELD)
  declare readonly account: string;

  @TextField({
    description:
      "The caller's own id for this charge, which must be unique in the account permanently. Sending it again charges nothing.",
    max: 255,
    pattern: REFERENCE_PATTERN,
    example: 'call-7f3a',
  })
  declare readonly reference: string;

  @TextField({
    description: 'The model that created the images; the price book has its price.',
    max: 200,
    optional: true,
    example: 'black-forest-labs/flux-2-klein-9b',
  })
  declare readonly model?: string | null;

  @IntegerField({
    description: 'The number of images; required with `model`.',
    min: 1,
    max: IMAGES_MAX,
    optional: true,
    example: 1,
  })
  declare readonly images?: number | null;

  @MicroUsdField({ description: 'An amount in micro-USD, instead of `model` and `images`.', optional: true })
  declare readonly amount_micros?: string | null;

  @TextField({
    description: 'A text for the ledger row of an `amount_micros` charge.',
    max: 200,
    optional: true,
  })
  declare readonly description?: string | null;
}

export class DebitRequest extends ChargeRequest {}

export class HoldRequest extends ChargeRequest {
  @IntegerField({
    description: `Seconds after which an unresolved hold is released; ${HOLD_SECONDS_DEFAULT} when absent.`,
    min: HOLD_SECONDS_MIN,
    max: HOLD_SECONDS_MAX,
    optional: true,
    example: HOLD_SECONDS_DEFAULT,
  })
  declare readonly expires_in_seconds?: number | null;
}

export class DebitBatchRequest {
  @ApiProperty({
    description: `Up to ${BATCH_ITEMS_MAX} debits; each is decided separately.`,
    type: () => [DebitRequest],
    minItems: 1,
    maxItems: BATCH_ITEMS_MAX,
  })
  @IsArray()
  @ArrayMinSize(1)
  @ArrayMaxSize(BATCH_ITEMS_MAX)
  // Items are validated one by one, so that an invalid one gets its own result and the others are charged.
  declare readonly debits: readonly unknown[];
}

export class CaptureRequest {
  @MicroUsdField({
    description: 'The amount to post; the rest is released. The whole hold when absent.',
    optional: true,
  })
  declare readonly amount_micros?: string | null;

  @IntegerField({
    description:
      'The number of the held images that were delivered; for holds created with `model` and `images`.',
    min: 1,
    max: IMAGES_MAX,
    optional: true,
  })
  declare readonly images?: number | null;
}

class BalancesView {
  @MicroUsdView('What can be spent now: posted minus held.', '9960000')
  declare readonly available_micros: string;
  @MicroUsdView('What running calls have set aside.', '0')
  declare readonly held_micros: string;
  @MicroUsdView('Settled credit.', '9960000')
  declare readonly posted_micros: string;
}

export class DebitView extends BalancesView {
  @ObjectTypeView('debit')
  declare readonly object: 'debit';
  @ApiProperty({
    description: 'Id of the (first) transfer.',
    example: 'txn_01KB2H7Q0000000000000000AA_000000000042',
  })
  declare readonly id: string;
  @ApiProperty({ description: 'The account that paid.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: "The caller's reference.", example: 'call-7f3a' })
  declare readonly reference: string;
  @MicroUsdView('What was charged.')
  declare readonly amount_micros: string;
  @ApiProperty({
    description: 'The model, when we priced the charge.',
    type: 'string',
    nullable: true,
    example: 'black-forest-labs/flux-2-klein-9b',
  })
  declare readonly model: string | null;
  @ApiProperty({
    description: 'The number of images, when we priced the charge.',
    type: 'integer',
    nullable: true,
    example: 1,
  })
  declare readonly images: number | null;
  @ApiProperty({
    description: 'The price version that was charged.',
    type: 'string',
    nullable: true,
    example: 'price_01KB2H7Q0000000000000000AA',
  })
  declare readonly price: string | null;
  @ApiProperty({ description: 'True when the reference was charged before; nothing was charged again.' })
  declare readonly replayed: boolean;
  @TimeView('When it was posted, Unix seconds.')
  declare readonly created: number;
}

export class FailedDebitView {
  @ObjectTypeView('error')
  declare readonly object: 'error';
  @ApiProperty({ description: "The item's reference, when it had one.", type: 'string', nullable: true })
  declare readonly reference: string | null;
  @ApiProperty({
    description: 'The status that the route for one debit would have.',
    type: 'integer',
    example: 402,
  })
  declare readonly status: number;
  @ApiProperty({
    description: 'The error, in the same form as every error of the API.',
    type: 'object',
    additionalProperties: true,
  })
  declare readonly error: Readonly<Record<string, unknown>>;
}

export class DebitBatchView {
  @ObjectTypeView('debit_batch')
  declare readonly object: 'debit_batch';
  @ApiProperty({ description: 'How many were charged, including replays.', type: 'integer', example: 999 })
  declare readonly succeeded: number;
  @ApiProperty({ description: 'How many were refused.', type: 'integer', example: 1 })
  declare readonly failed: number;
  @ApiProperty({
    description: 'One result for each item, in the order of the request.',
    type: 'array',
    items: {
      oneOf: [{ $ref: '#/components/schemas/DebitView' }, { $ref: '#/components/schemas/FailedDebitView' }],
    },
  })
  declare readonly data: readonly (DebitView | FailedDebitView)[];
}

export class HoldView extends BalancesView {
  @ObjectTypeView('hold')
  declare readonly object: 'hold';
  @ApiProperty({ description: 'Id of the hold.', example: 'hold_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({
    description: 'The account whose credit is held.',
    example: 'acct_01KB2H7Q0000000000000000AA',
  })
  declare readonly account: string;
  @ApiProperty({ description: "The caller's reference.", example: 'call-7f3a' })
  declare readonly reference: string;
  @ApiProperty({
    description: 'The status of the hold; it is resolved once.',
    enum: ['authorized', 'captured', 'voided', 'expired'],
  })
  declare readonly status: string;
  @MicroUsdView('What was set aside.')
  declare readonly amount_micros: string;
  @MicroUsdView('What was posted.', '0')
  declare readonly captured_micros: string;
  @ApiProperty({ description: 'True when an earlier call had this result already.' })
  declare readonly replayed: boolean;
  @TimeView('When an unresolved hold is released, Unix seconds.')
  declare readonly expires_at: number;
  @TimeView('When it was authorized, Unix seconds.')
  declare readonly created: number;
}

import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView } from '../../common/fields.js';
import { TopUpView } from '../top-up.dto.js';
import { OFF_REASONS, type OffReason } from './auto-top-up.js';

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

import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { ObjectTypeView, TimeView } from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import type { SavedCard } from './auto-top-up.js';

export class SavedCardView {
  @ApiProperty({ description: "Stripe's id of the card.", example: 'pm_1SVsandbox00000000000000' })
  declare readonly id: string;
  @ObjectTypeView('saved_card')
  declare readonly object: 'saved_card';
  @ApiProperty({ description: 'The brand of the card.', example: 'visa' })
  declare readonly brand: string;
  @ApiProperty({ description: 'Its last four digits.', example: '4242' })
  declare readonly last4: string;
  @ApiProperty({
    description: 'The month in which it expires; it is valid to the end of that month.',
    type: 'integer',
    example: 12,
  })
  declare readonly exp_month: number;
  @ApiProperty({ description: 'The year in which it expires.', type: 'integer', example: 2034 })
  declare readonly exp_year: number;
  @ApiProperty({ description: 'Whether it can still be charged.', example: true })
  declare readonly saved: boolean;
  @TimeView('When the customer agreed that it is saved, in Unix seconds.')
  declare readonly created: number;
}

export class SavedCardListView extends ListView {
  @ApiProperty({ description: 'The cards that can be charged, newest first.', type: () => [SavedCardView] })
  declare readonly data: readonly SavedCardView[];
}

export class DeletedSavedCardView {
  @ApiProperty({ description: "Stripe's id of the card.", example: 'pm_1SVsandbox00000000000000' })
  declare readonly id: string;
  @ObjectTypeView('saved_card')
  declare readonly object: 'saved_card';
  @ApiProperty({ description: 'Whether Stripe has deleted the card.', example: true })
  declare readonly deleted: boolean;
}

export function toSavedCardView(card: SavedCard): SavedCardView {
  return {
    id: card.id,
    object: 'saved_card',
    brand: card.brand,
    last4: card.last4,
    exp_month: card.expMonth,
    exp_year: card.expYear,
    saved: card.detachedAt === null,
    created: toUnixSeconds(card.consentedAt),
  };
}

export function toSavedCardList(page: Page<SavedCard>): SavedCardListView {
  return {
    object: 'list',
    url: '/v1/saved_cards',
    has_more: page.hasMore,
    data: page.data.map(toSavedCardView),
  };
}

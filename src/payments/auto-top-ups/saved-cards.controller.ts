import { Controller, Delete, Get, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { DeletedSavedCardView, SavedCardListView, toSavedCardList } from './saved-card.dto.js';
import { SavedCardsService } from './saved-cards.service.js';

@ApiTags('Top-ups')
@Controller('v1/saved_cards')
export class SavedCardsController {
  constructor(private readonly cards: SavedCardsService) {}

  @Get()
  @RequireScope('wallet:read')
  @ApiOperation({
    operationId: 'listSavedCards',
    summary: 'List the cards that can be charged without the customer',
    description:
      'A top-up with `save_card` saves a card. The newest is the one that automatic top-up charges.',
  })
  @ApiOkResponse({ type: SavedCardListView })
  @ApiProblems('database_unavailable')
  async list(@CurrentAccount() { accountId }: AccountPrincipal): Promise<SavedCardListView> {
    return toSavedCardList(await this.cards.list(accountId));
  }

  @Delete(':id')
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'deleteSavedCard',
    summary: 'Remove a saved card',
    description:
      'Stripe deletes the card, and it can no longer be charged. Automatic top-up that charges this card is switched ' +
      'off. Safe to repeat.',
  })
  @ApiOkResponse({ type: DeletedSavedCardView })
  @ApiProblems('resource_missing', 'payments_unavailable', 'database_unavailable')
  async delete(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<DeletedSavedCardView> {
    await this.cards.remove(principal.accountId, id, principal);
    return { id, object: 'saved_card', deleted: true };
  }
}

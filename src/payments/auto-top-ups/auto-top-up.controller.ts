import { Body, Controller, Get, Ip, Put, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, hasScope, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { AutoTopUpSettingsService } from './auto-top-up-settings.service.js';
import { AutoTopUpRequest, AutoTopUpView, toAutoTopUpView, toOptIn } from './auto-top-up.dto.js';

@ApiTags('Top-ups')
@Controller('v1/auto_top_up')
export class AutoTopUpController {
  constructor(private readonly settings: AutoTopUpSettingsService) {}

  @Get()
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'retrieveAutoTopUp', summary: 'Read how the wallet tops itself up' })
  @ApiOkResponse({ type: AutoTopUpView })
  @ApiProblems('database_unavailable')
  async retrieve(@CurrentAccount() { accountId }: AccountPrincipal): Promise<AutoTopUpView> {
    return toAutoTopUpView(await this.settings.read(accountId));
  }

  @Put()
  @RequireScope('wallet:write')
  @RateLimited('top_ups')
  @ApiOperation({
    operationId: 'replaceAutoTopUp',
    summary: 'Switch automatic top-up on, change it, or switch it off',
    description:
      'Charges a saved card, without asking again, whenever available credit falls below the threshold: at once when ' +
      'it is below already. Needs a card that a top-up with `save_card` saved. One charge at a time, within the caps, ' +
      'none while the wallet is frozen or a payment is disputed. After two declined charges in a row, or one that the ' +
      'bank forbids to repeat, it is off, and `off_reason` says why. Off means off: what was queued is withdrawn; only ' +
      'a charge that Stripe was asked for before this answer is completed (`in_flight` shows it). Switching it on, or ' +
      'changing it, needs the scope `cards:charge` as well; where more may be charged than before, the account is notified by ' +
      '`auto_top_up.updated`. Switching it off needs `wallet:write` alone.',
  })
  @ApiOkResponse({ type: AutoTopUpView })
  @ApiProblems(
    'invalid_request',
    'malformed_body',
    'amount_out_of_range',
    'auto_top_up_untaxed',
    'saved_card_missing',
    'database_unavailable',
  )
  async replace(
    @CurrentAccount() principal: AccountPrincipal,
    @Body() body: AutoTopUpRequest,
    @Ip() clientAddress: string,
  ): Promise<AutoTopUpView> {
    const { accountId } = principal;
    const mayChargeCards = hasScope(principal, 'cards:charge');
    const requester = { accountId, by: principal, clientAddress, mayChargeCards };
    if (body.enabled) await this.settings.switchOn(requester, toOptIn(body));
    else await this.settings.switchOff(requester);
    return toAutoTopUpView(await this.settings.read(accountId));
  }
}

/** For support, read only: only customers can agree to charges of their card. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/auto_top_up')
@RequireScope('admin')
export class AccountAutoTopUpController {
  constructor(private readonly settings: AutoTopUpSettingsService) {}

  @Get()
  @RecordsRead('account.read', 'auto_top_up')
  @ApiOperation({
    operationId: 'retrieveAccountAutoTopUp',
    summary: "Read how a customer's wallet tops itself up",
  })
  @ApiOkResponse({ type: AutoTopUpView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') accountId: string): Promise<AutoTopUpView> {
    return toAutoTopUpView(await this.settings.readFor(accountId));
  }
}

import { Body, Controller, Get, Put } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  toAlertChanges,
  toWalletAlertsView,
  WalletAlertsRequest,
  WalletAlertsView,
} from './wallet-alerts.dto.js';
import { WalletAlertsService } from './wallet-alerts.service.js';

@ApiTags('Alerts')
@Controller('v1/wallet/alerts')
export class WalletAlertsController {
  constructor(private readonly alerts: WalletAlertsService) {}

  @Get()
  @RequireScope('wallet:read')
  @ApiOperation({
    operationId: 'retrieveWalletAlerts',
    summary: 'Read when and where the account is notified that its credit runs out',
  })
  @ApiOkResponse({ type: WalletAlertsView })
  @ApiProblems('database_unavailable')
  async retrieve(@CurrentAccount() { accountId }: AccountPrincipal): Promise<WalletAlertsView> {
    return toWalletAlertsView(await this.alerts.read(accountId));
  }

  @Put()
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'updateWalletAlerts',
    summary: 'Choose when and where to be notified that credit runs out',
    description:
      'An account that asks for alerts for the first time, here or by an endpoint for `wallet.low`, and names no threshold ' +
      'gets one of $2.00. A new address gets one link to confirm it, valid for three days; a repeated request for an address ' +
      'that is not confirmed sends another, at most one in five minutes. A confirmed address that is removed or replaced is ' +
      'notified of that once.',
  })
  @ApiOkResponse({ type: WalletAlertsView })
  @ApiProblems('invalid_request', 'too_many_confirmations', 'database_unavailable')
  async update(
    @CurrentAccount() principal: AccountPrincipal,
    @Body() body: WalletAlertsRequest,
  ): Promise<WalletAlertsView> {
    return toWalletAlertsView(await this.alerts.update(principal.accountId, toAlertChanges(body), principal));
  }
}

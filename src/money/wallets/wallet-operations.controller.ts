import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { IdempotencyKey } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { WalletOperationsService } from './wallet-operations.service.js';
import { WalletReaderService } from './wallet-reader.service.js';
import {
  FreezeListView,
  toFreezeList,
  toStatusView,
  UnfreezeRequest,
  WalletStatusView,
} from './freeze.dto.js';
import {
  AdjustmentRequest,
  GrantRequest,
  MovementView,
  StatusRequest,
  toMovementView,
  toTransactionList,
  toWalletView,
  TransactionListView,
  WalletView,
} from './wallet.dto.js';

const idempotencyHeader = ApiHeader({
  name: 'Idempotency-Key',
  required: false,
  description: 'Sent again with the same body, nothing moves again and the first result is returned.',
});

@ApiTags('Accounts')
@Controller('v1/accounts/:id')
@RequireScope('admin')
export class WalletOperationsController {
  constructor(
    private readonly operations: WalletOperationsService,
    private readonly wallets: WalletReaderService,
    private readonly accounts: AccountsService,
  ) {}

  @Get('wallet')
  @RecordsRead('account.read', 'wallet')
  @ApiOperation({ operationId: 'retrieveAccountWallet', summary: "Read an account's wallet" })
  @ApiOkResponse({ type: WalletView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async wallet(@Param('id') id: string): Promise<WalletView> {
    await this.accounts.require(id);
    return toWalletView(id, await this.wallets.read(id));
  }

  @Get('transactions')
  @RecordsRead('account.read', 'transactions')
  @ApiOperation({
    operationId: 'listAccountTransactions',
    summary: "List an account's ledger rows, newest first",
  })
  @ApiOkResponse({ type: TransactionListView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async transactions(@Param('id') id: string, @Query() query: ListQuery): Promise<TransactionListView> {
    await this.accounts.require(id);
    return toTransactionList(`/v1/accounts/${id}/transactions`, await this.wallets.transfers(id, query.page));
  }

  @Post('grants')
  @idempotencyHeader
  @ApiOperation({ operationId: 'grantCredit', summary: 'Give promotional credit' })
  @ApiCreatedResponse({ type: MovementView })
  @ApiProblems(
    'invalid_request',
    'resource_missing',
    'reference_conflict',
    'wallet_locked',
    'database_unavailable',
  )
  async grant(
    @Param('id') id: string,
    @Body() body: GrantRequest,
    @CurrentOperator() operator: OperatorPrincipal,
    @IdempotencyKey() key: string | null,
  ): Promise<MovementView> {
    return toMovementView(id, await this.operations.grant(id, body, operator, key));
  }

  @Post('adjustments')
  @idempotencyHeader
  @ApiOperation({ operationId: 'adjustCredit', summary: 'Correct a balance, up or down' })
  @ApiCreatedResponse({ type: MovementView })
  @ApiProblems(
    'invalid_request',
    'resource_missing',
    'insufficient_credits',
    'reference_conflict',
    'wallet_locked',
    'database_unavailable',
  )
  async adjust(
    @Param('id') id: string,
    @Body() body: AdjustmentRequest,
    @CurrentOperator() operator: OperatorPrincipal,
    @IdempotencyKey() key: string | null,
  ): Promise<MovementView> {
    return toMovementView(id, await this.operations.adjust(id, body, operator, key));
  }

  @Get('freezes')
  @RecordsRead('account.read', 'freezes')
  @ApiOperation({
    operationId: 'listAccountFreezes',
    summary: 'List the reasons why a wallet is or was frozen, newest first',
    description: 'At most 100. A wallet is frozen while any of them is not lifted.',
  })
  @ApiOkResponse({ type: FreezeListView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async freezes(@Param('id') id: string): Promise<FreezeListView> {
    await this.accounts.require(id);
    return toFreezeList(id, await this.wallets.freezes(id));
  }

  @Post('freeze')
  @HttpCode(200)
  @ApiOperation({ operationId: 'freezeWallet', summary: 'Stop all spending from a wallet' })
  @ApiOkResponse({ type: WalletStatusView })
  @ApiProblems('invalid_request', 'resource_missing', 'wallet_locked', 'database_unavailable')
  async freeze(
    @Param('id') id: string,
    @Body() body: StatusRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<WalletStatusView> {
    return toStatusView(id, await this.operations.freeze(id, body.reason, operator));
  }

  @Post('unfreeze')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'unfreezeWallet',
    summary: 'Allow spending again',
    description:
      'Lifts every reason why the wallet is frozen, whatever its source; with `freeze` one of them. The wallet is active when ' +
      'none is left. A dispute that is won lifts its own reason only.',
  })
  @ApiOkResponse({ type: WalletStatusView })
  @ApiProblems(
    'invalid_request',
    'resource_missing',
    'wallet_in_debt',
    'wallet_locked',
    'database_unavailable',
  )
  async unfreeze(
    @Param('id') id: string,
    @Body() body: UnfreezeRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<WalletStatusView> {
    const lifted = body.freeze ?? null;
    return toStatusView(id, await this.operations.unfreeze(id, lifted, body.reason, operator));
  }
}

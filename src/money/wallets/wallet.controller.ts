import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { WalletReaderService } from './wallet-reader.service.js';
import { toTransactionList, toWalletView, TransactionListView, WalletView } from './wallet.dto.js';

@ApiTags('Wallet')
@Controller('v1/wallet')
@RequireScope('wallet:read')
export class WalletController {
  constructor(private readonly wallets: WalletReaderService) {}

  @Get()
  @ApiOperation({ operationId: 'retrieveWallet', summary: 'Read the wallet: available, held, posted' })
  @ApiOkResponse({ type: WalletView })
  @ApiProblems('database_unavailable')
  async retrieve(@CurrentAccount() { accountId }: AccountPrincipal): Promise<WalletView> {
    return toWalletView(accountId, await this.wallets.read(accountId));
  }

  @Get('transactions')
  @ApiOperation({ operationId: 'listTransactions', summary: "List the account's ledger rows, newest first" })
  @ApiOkResponse({ type: TransactionListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async transactions(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: ListQuery,
  ): Promise<TransactionListView> {
    return toTransactionList('/v1/wallet/transactions', await this.wallets.transfers(accountId, query.page));
  }
}

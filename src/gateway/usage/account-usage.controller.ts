import { Controller, Get, Headers, Param, Query, type StreamableFile } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ClientGone } from '../../platform/http/connections.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { UsageAnswersService } from './usage-answers.service.js';
import { DocumentUsage } from './usage.documentation.js';
import { UsageListQuery, type UsageListView } from './usage.dto.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id')
@RequireScope('admin')
export class AccountUsageController {
  constructor(
    private readonly usage: UsageAnswersService,
    private readonly accounts: AccountsService,
  ) {}

  @Get('usage')
  @RecordsRead('account.read', 'usage')
  @DocumentUsage('retrieveAccountUsage', 'Read what an account used and was charged')
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async retrieve(
    @Param('id') id: string,
    @Query() query: UsageListQuery,
    @Headers('accept') accept: string | undefined,
    @ClientGone() gone: AbortSignal,
  ): Promise<UsageListView | StreamableFile> {
    await this.accounts.require(id);
    return this.usage.answer(`/v1/accounts/${id}/usage`, id, query, accept, gone);
  }
}

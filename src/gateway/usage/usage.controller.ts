import { Controller, Get, Headers, Query, type StreamableFile } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ClientGone } from '../../platform/http/connections.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { UsageAnswersService } from './usage-answers.service.js';
import { DocumentUsage } from './usage.documentation.js';
import { UsageListQuery, type UsageListView } from './usage.dto.js';

@ApiTags('Wallet')
@Controller('v1/usage')
@RequireScope('wallet:read')
export class UsageController {
  constructor(private readonly usage: UsageAnswersService) {}

  @Get()
  @RateLimited('reads')
  @DocumentUsage('retrieveUsage', 'Read what was used and charged, by day, model, API key and tag')
  @ApiProblems('invalid_request', 'database_unavailable')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: UsageListQuery,
    @Headers('accept') accept: string | undefined,
    @ClientGone() gone: AbortSignal,
  ): Promise<UsageListView | StreamableFile> {
    return this.usage.answer('/v1/usage', accountId, query, accept, gone);
  }
}

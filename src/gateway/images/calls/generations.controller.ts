import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../../identity/auth/principal.js';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { MediaSigner } from '../media/media-store.js';
import {
  GenerationListQuery,
  GenerationListView,
  GenerationView,
  toGenerationList,
  toGenerationView,
} from './generation.dto.js';
import { toGenerationFilter } from './records/generation-filter.js';
import { GenerationReceiptsService } from './records/generation-receipts.service.js';
import { RunningGenerationsService } from './running-generations.service.js';

@ApiTags('Images')
@Controller('v1/generations')
export class GenerationsController {
  constructor(
    private readonly receipts: GenerationReceiptsService,
    private readonly running: RunningGenerationsService,
    private readonly signer: MediaSigner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  @Get()
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'listGenerations', summary: "List the account's image calls, newest first" })
  @ApiOkResponse({ type: GenerationListView })
  @ApiProblems('invalid_request')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: GenerationListQuery,
  ): Promise<GenerationListView> {
    await this.running.recorded(accountId);
    const nowMs = this.clock.nowMs();
    const filter = toGenerationFilter(query, nowMs);
    return toGenerationList(await this.receipts.list(accountId, filter, query.page), this.signer, nowMs);
  }

  @Get(':id')
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'retrieveGeneration', summary: 'Read the receipt of an image call' })
  @ApiOkResponse({ type: GenerationView })
  @ApiProblems('resource_missing')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<GenerationView> {
    await this.running.recorded(accountId);
    return toGenerationView(await this.receipts.require(accountId, id), this.signer, this.clock.nowMs());
  }
}

import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount } from '../auth/current-principal.decorator.js';
import type { AccountPrincipal } from '../auth/principal.js';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { CLOCK, type Clock } from '../common/clock.js';
import { ListQuery } from '../common/list-query.dto.js';
import { ApiProblems } from '../problems/api-problems.js';
import { RateLimited } from '../rate-limits/rate-limited.decorator.js';
import { GenerationListView, GenerationView, toGenerationList, toGenerationView } from './generation.dto.js';
import { MediaSigner } from './media/media-signer.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { RunningGenerations } from './running-generations.service.js';

@ApiTags('Images')
@Controller('v1/generations')
export class GenerationsController {
  constructor(
    private readonly generations: GenerationReader,
    private readonly running: RunningGenerations,
    private readonly signer: MediaSigner,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Get()
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'listGenerations', summary: "List the account's image calls, newest first" })
  @ApiOkResponse({ type: GenerationListView })
  @ApiProblems('invalid_request')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: ListQuery,
  ): Promise<GenerationListView> {
    await this.running.recorded(accountId);
    return toGenerationList(
      await this.generations.list(accountId, query.page),
      this.signer,
      this.clock.nowMs(),
    );
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
    return toGenerationView(await this.generations.require(accountId, id), this.signer, this.clock.nowMs());
  }
}

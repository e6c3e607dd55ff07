import { Body, Controller, HttpCode, Post, Res } from '@nestjs/common';
import { ApiCreatedResponse, ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, toActor, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { withReplayStatus, type Reply } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { DebitsService } from './debits.service.js';
import { DebitBatchRequest, DebitBatchView, DebitRequest, DebitView, FailedDebitView } from './debit.dto.js';

@ApiTags('Debits')
@ApiExtraModels(DebitRequest, DebitView, FailedDebitView)
@Controller('v1/debits')
@RequireScope('debits')
export class DebitsController {
  constructor(private readonly debits: DebitsService) {}

  @Post()
  @ApiOperation({ operationId: 'createDebit', summary: 'Charge a wallet once' })
  @ApiCreatedResponse({ type: DebitView, description: 'Charged.' })
  @ApiOkResponse({
    type: DebitView,
    description: 'The reference was charged before; nothing was charged again.',
  })
  @ApiProblems(
    'invalid_request',
    'insufficient_credits',
    'wallet_frozen',
    'model_not_found',
    'resource_missing',
    'reference_conflict',
    'engine_saturated',
    'wallet_locked',
    'database_unavailable',
  )
  async create(
    @Body() body: DebitRequest,
    @CurrentOperator() operator: OperatorPrincipal,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<DebitView> {
    return withReplayStatus(reply, await this.debits.debit(body, toActor(operator)));
  }

  @Post('batch')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'createDebitBatch',
    summary: 'Charge up to 1,000 wallets, each with its own result',
  })
  @ApiOkResponse({ type: DebitBatchView })
  @ApiProblems('invalid_request', 'payload_too_large')
  async createBatch(
    @Body() body: DebitBatchRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<DebitBatchView> {
    return this.debits.debitBatch(body.debits, toActor(operator));
  }
}

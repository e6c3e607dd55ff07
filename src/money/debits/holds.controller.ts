import { Body, Controller, HttpCode, Param, Post, Res } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, toActor, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { withReplayStatus, type Reply } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { CaptureRequest, HoldRequest, HoldView } from './debit.dto.js';
import { HoldsService } from './holds.service.js';

@ApiTags('Holds')
@Controller('v1/holds')
@RequireScope('debits')
export class HoldsController {
  constructor(private readonly holds: HoldsService) {}

  @Post()
  @ApiOperation({ operationId: 'createHold', summary: 'Hold credit for a call that is about to start' })
  @ApiCreatedResponse({ type: HoldView, description: 'Authorized.' })
  @ApiOkResponse({ type: HoldView, description: 'The reference was authorized before.' })
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
    @Body() body: HoldRequest,
    @CurrentOperator() operator: OperatorPrincipal,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<HoldView> {
    return withReplayStatus(reply, await this.holds.authorize(body, toActor(operator)));
  }

  @Post(':id/capture')
  @HttpCode(200)
  @ApiOperation({ operationId: 'captureHold', summary: 'Post what was delivered and release the rest' })
  @ApiOkResponse({ type: HoldView })
  @ApiProblems(
    'invalid_request',
    'amount_exceeds_hold',
    'resource_missing',
    'hold_already_resolved',
    'wallet_locked',
    'database_unavailable',
  )
  async capture(
    @Param('id') id: string,
    @Body() body: CaptureRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<HoldView> {
    return this.holds.capture(id, body, toActor(operator));
  }

  @Post(':id/void')
  @HttpCode(200)
  @ApiOperation({ operationId: 'voidHold', summary: 'Release a hold; nothing was charged' })
  @ApiOkResponse({ type: HoldView })
  @ApiProblems('resource_missing', 'hold_already_resolved', 'wallet_locked', 'database_unavailable')
  async void(@Param('id') id: string, @CurrentOperator() operator: OperatorPrincipal): Promise<HoldView> {
    return this.holds.void(id, toActor(operator));
  }
}

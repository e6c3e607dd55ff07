import { Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { formatMicros } from '../../platform/common/money.js';
import { IdempotencyKey } from '../../platform/http/idempotency.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { WRITE_OFF_KEY } from '../disputes/dispute.dto.js';
import { RefundWriteOffView } from './refund.dto.js';
import { Refunds } from './refunds.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id/refunds')
@RequireScope('admin')
export class RefundWriteOffsController {
  constructor(private readonly refunds: Refunds) {}

  @Post(':refund/write_off')
  @HttpCode(200)
  @ApiHeader(WRITE_OFF_KEY)
  @ApiOperation({
    operationId: 'writeOffRefund',
    summary: "Give up the debt that a refund made in Stripe's dashboard left",
    description:
      'At most what the wallet owes, and at most what the refund took and is neither back nor given up. It may be asked for as ' +
      'often as there is such debt: a hold that is captured later can leave more. A refund that was made here leaves no debt. A ' +
      'wallet that owes nothing can be unfrozen.',
  })
  @ApiOkResponse({ type: RefundWriteOffView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async writeOff(
    @Param('id') accountId: string,
    @Param('refund') id: string,
    @CurrentOperator() operator: OperatorPrincipal,
    @IdempotencyKey() key: string | null,
  ): Promise<RefundWriteOffView> {
    const amount = await this.refunds.writeOff(accountId, id, operator, key);
    return { object: 'write_off', refund: id, amount_micros: formatMicros(amount) };
  }
}

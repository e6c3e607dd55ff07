import { Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator } from '../../auth/current-principal.decorator.js';
import type { OperatorPrincipal } from '../../auth/principal.js';
import { RequireScope } from '../../auth/require-scope.decorator.js';
import { formatMicros } from '../../common/money.js';
import { ApiProblems } from '../../problems/api-problems.js';
import { RefundWriteOffView } from './refund.dto.js';
import { Refunds } from './refunds.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id/refunds')
@RequireScope('admin')
export class RefundWriteOffsController {
  constructor(private readonly refunds: Refunds) {}

  @Post(':refund/write_off')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'writeOffRefund',
    summary: "Give up the debt that a refund made in Stripe's dashboard left",
    description:
      'At most what the refund took, at most what the wallet owes, and once: sent again, it answers what was given up ' +
      'the first time, although that may be owed again since. A refund that was made here leaves no debt. A wallet that owes ' +
      'nothing can be unfrozen.',
  })
  @ApiOkResponse({ type: RefundWriteOffView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async writeOff(
    @Param('id') accountId: string,
    @Param('refund') id: string,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<RefundWriteOffView> {
    const amount = await this.refunds.writeOff(accountId, id, operator);
    return { object: 'write_off', refund: id, amount_micros: formatMicros(amount) };
  }
}

import { Body, Controller, Get, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { IdempotencyKey, type Reply } from '../../platform/http/idempotency.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { answerRefund } from './answer-refund.js';
import { RefundListView, RefundRequest, RefundView, toRefundList } from './refund.dto.js';
import { Refunds } from './refunds.service.js';

/** The same for support, at any time. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/top_ups/:top_up')
@RequireScope('admin')
export class AccountRefundsController {
  constructor(
    private readonly refunds: Refunds,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  @Post('refund')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'refundAccountTopUp',
    summary: "Refund a customer's unspent paid credit",
    description: 'As customers do themselves, without the limit of their time to ask.',
  })
  @ApiHeader({
    name: 'Idempotency-Key',
    required: false,
    description: '1 to 255 visible ASCII characters of your choice.',
  })
  @ApiOkResponse({ type: RefundView })
  @ApiProblems(
    'invalid_request',
    'malformed_body',
    'resource_missing',
    'top_up_not_refundable',
    'refund_exceeds_credit',
    'refund_refused',
    'idempotency_key_reused',
    'database_unavailable',
  )
  async refund(
    @Param('id') accountId: string,
    @Param('top_up') id: string,
    @Body() body: RefundRequest,
    @CurrentOperator() operator: OperatorPrincipal,
    @IdempotencyKey() idempotencyKey: string | null,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<RefundView> {
    const asker = {
      accountId,
      topUpId: id,
      by: operator,
      asked: 'by_operator',
      idempotencyKey,
    } as const;
    return answerRefund(this.refunds, asker, body, reply, this.clock.nowMs());
  }

  @Get('refunds')
  @RecordsRead('account.read', 'refunds')
  @ApiOperation({
    operationId: 'listAccountRefunds',
    summary: "List the refunds of a customer's top-up, newest first",
  })
  @ApiOkResponse({ type: RefundListView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async list(@Param('id') accountId: string, @Param('top_up') id: string): Promise<RefundListView> {
    return toRefundList(id, await this.refunds.list(accountId, id));
  }
}

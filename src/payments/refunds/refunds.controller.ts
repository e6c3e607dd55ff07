import { Body, Controller, Get, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { IdempotencyKey, type Reply } from '../../platform/http/idempotency.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { answerRefund } from './answer-refund.js';
import { RefundListView, RefundRequest, RefundView, toRefundList } from './refund.dto.js';
import { Refunds } from './refunds.service.js';

@ApiTags('Top-ups')
@Controller('v1/top_ups/:id')
export class RefundsController {
  constructor(
    private readonly refunds: Refunds,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  @Post('refund')
  @HttpCode(200)
  @RequireScope('wallet:write')
  @RateLimited('top_ups')
  @ApiOperation({
    operationId: 'refundTopUp',
    summary: 'Get unspent paid credit back',
    description:
      'The credit leaves the wallet at once and the money goes back to where it came from, with its share of the ' +
      'platform fee. Credit that was given, promotional or goodwill, is never paid out. With `preview` nothing moves. With an `Idempotency-Key` ' +
      'the same request finds the same refund again.',
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
    'refund_window_over',
    'refund_exceeds_credit',
    'refund_refused',
    'idempotency_key_reused',
    'database_unavailable',
  )
  async refund(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
    @Body() body: RefundRequest,
    @IdempotencyKey() idempotencyKey: string | null,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<RefundView> {
    const asker = {
      accountId: principal.accountId,
      topUpId: id,
      by: principal,
      asked: 'by_customer',
      idempotencyKey,
    } as const;
    return answerRefund(this.refunds, asker, body, reply, this.clock.nowMs());
  }

  @Get('refunds')
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'listRefunds', summary: "List a top-up's refunds, newest first" })
  @ApiOkResponse({ type: RefundListView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<RefundListView> {
    return toRefundList(id, await this.refunds.list(accountId, id));
  }
}

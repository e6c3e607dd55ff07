import { Body, Controller, Get, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import {
  CurrentAccount,
  CurrentOperator,
  type AccountPrincipal,
  type OperatorPrincipal,
} from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { IdempotencyKey, type Reply } from '../../platform/http/routes.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { formatMicros } from '../../platform/common/money.js';
import { WRITE_OFF_KEY } from '../disputes/dispute.dto.js';
import {
  RefundListView,
  RefundRequest,
  RefundView,
  toRefundList,
  RefundWriteOffView,
  toPreviewView,
  toRefundView,
} from './refund.dto.js';
import { RefundsService, type NewRefundRequest } from './refunds.service.js';

@ApiTags('Top-ups')
@Controller('v1/top_ups/:id')
export class RefundsController {
  constructor(
    private readonly refunds: RefundsService,
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
    'refund_interrupted',
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
    const requester = {
      accountId: principal.accountId,
      topUpId: id,
      by: principal,
      asked: 'by_customer',
      idempotencyKey,
    } as const;
    return answerRefund(this.refunds, requester, body, reply, this.clock.nowMs());
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

/** For support: the same for a customer's top-up, without a time limit. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/top_ups/:top_up')
@RequireScope('admin')
export class AccountRefundsController {
  constructor(
    private readonly refunds: RefundsService,
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
    'refund_interrupted',
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
    const requester = {
      accountId,
      topUpId: id,
      by: operator,
      asked: 'by_operator',
      idempotencyKey,
    } as const;
    return answerRefund(this.refunds, requester, body, reply, this.clock.nowMs());
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

@ApiTags('Accounts')
@Controller('v1/accounts/:id/refunds')
@RequireScope('admin')
export class RefundWriteOffsController {
  constructor(private readonly refunds: RefundsService) {}

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

type Requester = Pick<NewRefundRequest, 'accountId' | 'topUpId' | 'by' | 'asked' | 'idempotencyKey'>;

/** Customers and support get the same answer; only the requester differs. */
async function answerRefund(
  refunds: RefundsService,
  requester: Requester,
  body: RefundRequest,
  reply: Reply,
  nowMs: number,
): Promise<RefundView> {
  const request = { ...requester, creditCents: body.credit_cents ?? null, reason: body.reason ?? null };
  if (body.preview === true) return toPreviewView(requester.topUpId, await refunds.preview(request), nowMs);
  const { refund, replayed } = await refunds.start(request);
  reply.header('Idempotent-Replayed', String(replayed));
  return toRefundView(refund);
}

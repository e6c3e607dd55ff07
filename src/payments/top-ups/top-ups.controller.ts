import { Body, Controller, Get, Ip, Param, Post, Query, Res } from '@nestjs/common';
import { ApiCreatedResponse, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, toActor, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { IdempotencyKey, type Reply } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { TopUpCheckoutService } from './top-up-checkout.service.js';
import { toTopUpList, toTopUpView, TopUpListView, TopUpRequest, TopUpView } from './top-up.dto.js';
import { TopUpsService } from './top-ups.service.js';

@ApiTags('Top-ups')
@Controller('v1/top_ups')
export class TopUpsController {
  constructor(
    private readonly checkout: TopUpCheckoutService,
    private readonly topUps: TopUpsService,
  ) {}

  @Post()
  @RequireScope('wallet:write')
  @RateLimited('top_ups')
  @ApiOperation({
    operationId: 'createTopUp',
    summary: 'Buy credit',
    description:
      'Returns a `checkout_url`; the credit is in the wallet within seconds of the payment there. With an ' +
      '`Idempotency-Key` the same request returns the same top-up again, also after a 503. An account and a ' +
      'network address can open a limited number of payment pages a day; refused cards close them; and an account can ' +
      'buy little until its first payment is a day old. A refusal charges nothing, and its `retry_at` or `ends_at` ' +
      '(Unix seconds) says when more is possible.',
  })
  @ApiHeader({ name: 'Idempotency-Key', description: '1 to 255 visible ASCII characters of your choice.' })
  @ApiCreatedResponse({ type: TopUpView })
  @ApiProblems(
    'invalid_request',
    'amount_out_of_range',
    'malformed_body',
    'first_top_up_limit',
    'idempotency_key_reused',
    'too_many_top_ups',
    'too_many_failed_payments',
    'payments_unavailable',
    'database_unavailable',
  )
  async create(
    @CurrentAccount() principal: AccountPrincipal,
    @Body() body: TopUpRequest,
    @IdempotencyKey() idempotencyKey: string | null,
    @Ip() clientAddress: string,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<TopUpView> {
    const { topUp, replayed } = await this.checkout.start({
      accountId: principal.accountId,
      actor: toActor(principal),
      amountCents: body.credit_cents,
      saveCard: body.save_card ?? false,
      successUrl: body.success_url ?? null,
      cancelUrl: body.cancel_url ?? null,
      idempotencyKey,
      clientAddress,
    });
    reply.header('Idempotent-Replayed', String(replayed));
    return toTopUpView(topUp);
  }

  @Get()
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'listTopUps', summary: "List the account's top-ups, newest first" })
  @ApiOkResponse({ type: TopUpListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: ListQuery,
  ): Promise<TopUpListView> {
    return toTopUpList(await this.topUps.list(accountId, query.page));
  }

  @Get(':id')
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'retrieveTopUp', summary: 'Read one top-up' })
  @ApiOkResponse({ type: TopUpView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<TopUpView> {
    return toTopUpView(await this.topUps.require(accountId, id));
  }
}

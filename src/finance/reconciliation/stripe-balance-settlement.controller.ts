import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  BalanceSettlementView,
  SettleBalanceTransactionRequest,
  toBalanceSettlementView,
} from './stripe-balance-settlement.dto.js';
import { StripeBalanceSettlementService } from './stripe-balance-settlement.service.js';

@ApiTags('Finance')
@Controller('v1/stripe_balance_transactions')
@RequireScope('admin')
export class StripeBalanceSettlementController {
  constructor(private readonly settlements: StripeBalanceSettlementService) {}

  @Post(':id/settle')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'settleBalanceTransaction',
    summary: 'Record how money was settled that cannot be booked',
    description:
      'For money that `coffer doctor` reports as moved by Stripe and missing in every book, such as a dispute that was taken from ' +
      'a balance in another currency. Where the credit of the account has to change, correct it first (a debit, a grant or an ' +
      'adjustment) and name its reference here. The doctor then no longer reports the money. Nothing moves. Each decision is ' +
      'recorded: a repeated request returns the same one, and a different one replaces it from then on.',
  })
  @ApiOkResponse({ type: BalanceSettlementView })
  @ApiProblems('invalid_request', 'malformed_body', 'resource_missing', 'database_unavailable')
  async settle(
    @Param('id') id: string,
    @Body() { settled_by: settledBy, reason }: SettleBalanceTransactionRequest,
    @CurrentOperator() by: OperatorPrincipal,
  ): Promise<BalanceSettlementView> {
    return toBalanceSettlementView(
      await this.settlements.settle(id, { settledBy: settledBy ?? null, by, reason }),
    );
  }
}

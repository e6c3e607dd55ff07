import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator } from '../../identity/auth/current-principal.decorator.js';
import type { OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  BalanceSettlementView,
  SettleBalanceTransactionRequest,
  toBalanceSettlementView,
} from './stripe-balance-settlement.dto.js';
import { StripeBalanceSettlements } from './stripe-balance-settlement.service.js';

@ApiTags('Finance')
@Controller('v1/stripe_balance_transactions')
@RequireScope('admin')
export class StripeBalanceSettlementController {
  constructor(private readonly settlements: StripeBalanceSettlements) {}

  @Post(':id/settle')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'settleBalanceTransaction',
    summary: 'Say how money was settled that no book can have',
    description:
      'For what `coffer doctor` names as moved by Stripe and explained by no book, such as a dispute that left a balance in ' +
      'another currency. Correct the credit of the account first where it has to change (a debit, a grant or an adjustment), ' +
      'then name its reference here, and the doctor names the money no more. Nothing moves. Each decision is kept; sent ' +
      'again, the same one is answered, and another one counts from then on.',
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

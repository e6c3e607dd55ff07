import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { toExportRange } from '../exports/export-range.js';
import {
  StripeReconciliationQuery,
  StripeReconciliationView,
  toStripeReconciliationView,
} from './stripe-reconciliation.dto.js';
import { StripeReconciliationService } from './stripe-reconciliation.service.js';

@ApiTags('Finance')
@Controller('v1/reports')
@RequireScope('finance')
export class StripeReconciliationController {
  constructor(private readonly reconciliations: StripeReconciliationService) {}

  @Get('stripe_reconciliation')
  @RecordsRead('report.read', 'stripe_reconciliation', ['from', 'to'])
  @ApiOperation({
    operationId: 'reportStripeReconciliation',
    summary: "Compare the ledger's account at Stripe with Stripe's balance",
    description:
      'As of one moment, for the balance transactions that Stripe created in the range: what moved, what Stripe kept, what ' +
      'the ledger booked for it, and every balance transaction where the two differ. Money of another system on the same ' +
      'Stripe account is such a difference; `coffer doctor` finds the others too. A payment that no customer was credited ' +
      'with is not a difference: it is owed, and is in `unapplied_payments` until it is refunded or credited.',
  })
  @ApiOkResponse({ type: StripeReconciliationView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async report(@Query() query: StripeReconciliationQuery): Promise<StripeReconciliationView> {
    const { from, to } = toExportRange(query);
    return toStripeReconciliationView(await this.reconciliations.reconcile(from, to));
  }
}

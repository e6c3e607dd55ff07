import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../platform/jobs/jobs.module.js';
import { StripeModule } from '../payments/stripe/stripe.module.js';
import { WalletsModule } from '../money/wallets/wallets.module.js';
import { ExportsController } from './exports/exports.controller.js';
import { LedgerExportService } from './exports/ledger-export.service.js';
import { BalanceReader } from './reconciliation/balance-reader.service.js';
import { PlatformBook } from './reconciliation/platform-book.service.js';
import { StripeBalanceCursorEntity } from './reconciliation/stripe-balance-cursor.entity.js';
import { StripeBalanceJob } from './reconciliation/stripe-balance.job.js';
import { StripeReconciliationController } from './reconciliation/stripe-reconciliation.controller.js';
import { StripeReconciliations } from './reconciliation/stripe-reconciliation.service.js';
import { StripeBalanceSettlementController } from './reconciliation/stripe-balance-settlement.controller.js';
import { StripeBalanceSettlementEntity } from './reconciliation/stripe-balance-settlement.entity.js';
import { StripeBalanceSettlements } from './reconciliation/stripe-balance-settlement.service.js';
import { StripeBalanceTransactionEntity } from './reconciliation/stripe-balance-transaction.entity.js';
import { UnappliedPayments } from './reconciliation/unapplied-payments.service.js';
import { UpstreamAccrualJob } from './provider-costs/upstream-accrual.job.js';
import { UpstreamAccruals } from './provider-costs/upstream-accruals.service.js';

@Module({
  imports: [
    JobsModule,
    StripeModule,
    WalletsModule,
    TypeOrmModule.forFeature([
      StripeBalanceTransactionEntity,
      StripeBalanceCursorEntity,
      StripeBalanceSettlementEntity,
    ]),
  ],
  controllers: [ExportsController, StripeReconciliationController, StripeBalanceSettlementController],
  providers: [
    LedgerExportService,
    BalanceReader,
    PlatformBook,
    UnappliedPayments,
    StripeBalanceJob,
    StripeReconciliations,
    StripeBalanceSettlements,
    UpstreamAccrualJob,
    UpstreamAccruals,
  ],
})
export class FinanceModule {}

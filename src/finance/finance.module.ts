import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { PaymentsModule } from '../payments/payments.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { ExportsController } from './exports.controller.js';
import { LedgerExportService } from './ledger-export.service.js';
import { BalanceReader } from './platform-book/balance-reader.service.js';
import { PlatformBook } from './platform-book/platform-book.service.js';
import { StripeBalanceCursorEntity } from './platform-book/stripe-balance-cursor.entity.js';
import { StripeBalanceJob } from './platform-book/stripe-balance.job.js';
import { StripeReconciliationController } from './platform-book/stripe-reconciliation.controller.js';
import { StripeReconciliations } from './platform-book/stripe-reconciliation.service.js';
import { StripeBalanceSettlementController } from './platform-book/stripe-balance-settlement.controller.js';
import { StripeBalanceSettlementEntity } from './platform-book/stripe-balance-settlement.entity.js';
import { StripeBalanceSettlements } from './platform-book/stripe-balance-settlement.service.js';
import { StripeBalanceTransactionEntity } from './platform-book/stripe-balance-transaction.entity.js';
import { UnappliedPayments } from './platform-book/unapplied-payments.service.js';
import { UpstreamAccrualJob } from './upstream-costs/upstream-accrual.job.js';
import { UpstreamAccruals } from './upstream-costs/upstream-accruals.service.js';

@Module({
  imports: [
    JobsModule,
    PaymentsModule,
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

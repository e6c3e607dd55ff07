import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { StripeModule } from '../../payments/stripe/stripe.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { BalanceReader } from './balance-reader.service.js';
import { PlatformBook } from './platform-book.service.js';
import { StripeBalanceCursorEntity } from './stripe-balance-cursor.entity.js';
import { StripeBalanceSettlementController } from './stripe-balance-settlement.controller.js';
import { StripeBalanceSettlementEntity } from './stripe-balance-settlement.entity.js';
import { StripeBalanceSettlements } from './stripe-balance-settlement.service.js';
import { StripeBalanceTransactionEntity } from './stripe-balance-transaction.entity.js';
import { StripeBalanceJob } from './stripe-balance.job.js';
import { StripeReconciliationController } from './stripe-reconciliation.controller.js';
import { StripeReconciliations } from './stripe-reconciliation.service.js';
import { UnappliedPayments } from './unapplied-payments.service.js';

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
  controllers: [StripeReconciliationController, StripeBalanceSettlementController],
  providers: [
    BalanceReader,
    PlatformBook,
    UnappliedPayments,
    StripeBalanceJob,
    StripeReconciliations,
    StripeBalanceSettlements,
  ],
})
export class ReconciliationModule {}

import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { StripeModule } from '../../payments/stripe/stripe.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { BalanceReaderService } from './balance-reader.service.js';
import { PlatformBookService } from './platform-book.service.js';
import { StripeBalanceCursorEntity } from './stripe-balance-cursor.entity.js';
import { StripeBalanceSettlementController } from './stripe-balance-settlement.controller.js';
import { StripeBalanceSettlementEntity } from './stripe-balance-settlement.entity.js';
import { StripeBalanceSettlementService } from './stripe-balance-settlement.service.js';
import { StripeBalanceTransactionEntity } from './stripe-balance-transaction.entity.js';
import { StripeBalanceJob } from './stripe-balance.job.js';
import { StripeReconciliationController } from './stripe-reconciliation.controller.js';
import { StripeReconciliationService } from './stripe-reconciliation.service.js';
import { UnappliedPaymentsService } from './unapplied-payments.service.js';

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
    BalanceReaderService,
    PlatformBookService,
    UnappliedPaymentsService,
    StripeBalanceJob,
    StripeReconciliationService,
    StripeBalanceSettlementService,
  ],
})
export class ReconciliationModule {}

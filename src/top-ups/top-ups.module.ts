import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../accounts/accounts.module.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { NotificationsModule } from '../notifications/notifications.module.js';
import { PaymentsModule } from '../payments/payments.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { DisputeEntity } from './disputes/dispute.entity.js';
import { DisputeEvents } from './disputes/dispute-events.js';
import { DisputeRepository } from './disputes/dispute.repository.js';
import { DisputeSettlement } from './disputes/dispute-settlement.service.js';
import { DisputesController } from './disputes/disputes.controller.js';
import { Disputes } from './disputes/disputes.service.js';
import { AccountRefundsController } from './refunds/account-refunds.controller.js';
import { RefundEntity } from './refunds/refund.entity.js';
import { RefundEvents } from './refunds/refund-events.js';
import { RefundRepository } from './refunds/refund.repository.js';
import { RefundSettlement } from './refunds/refund-settlement.service.js';
import { RefundSweepJob } from './refunds/refund-sweep.job.js';
import { RefundsController } from './refunds/refunds.controller.js';
import { Refunds } from './refunds/refunds.service.js';
import { CheckoutReturnController } from './checkout-return.controller.js';
import { PaymentFailureEntity } from './limits/payment-failure.entity.js';
import { PaymentFailures } from './limits/payment-failures.service.js';
import { TopUpLimits } from './limits/top-up-limits.service.js';
import { TopUpCheckout } from './top-up-checkout.service.js';
import { TopUpEntity } from './top-up.entity.js';
import { TopUpEvents } from './top-up-events.js';
import { TopUpRepository } from './top-up.repository.js';
import { TopUpSettlement } from './top-up-settlement.service.js';
import { TopUpSweepJob } from './top-up-sweep.job.js';
import { TopUpsController } from './top-ups.controller.js';
import { TopUpsService } from './top-ups.service.js';

/** Credit that customers buy: the quote, the payment page, and the settlement into the wallet. */
@Module({
  imports: [
    AccountsModule,
    JobsModule,
    NotificationsModule,
    PaymentsModule,
    WalletsModule,
    TypeOrmModule.forFeature([TopUpEntity, PaymentFailureEntity, RefundEntity, DisputeEntity]),
  ],
  controllers: [
    TopUpsController,
    CheckoutReturnController,
    RefundsController,
    AccountRefundsController,
    DisputesController,
  ],
  providers: [
    TopUpLimits,
    PaymentFailures,
    TopUpRepository,
    TopUpsService,
    TopUpCheckout,
    TopUpSettlement,
    TopUpEvents,
    TopUpSweepJob,
    RefundRepository,
    Refunds,
    RefundSettlement,
    RefundEvents,
    RefundSweepJob,
    DisputeRepository,
    Disputes,
    DisputeSettlement,
    DisputeEvents,
  ],
})
export class TopUpsModule {}

import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../identity/accounts/accounts.module.js';
import { JobsModule } from '../platform/jobs/jobs.module.js';
import { NotificationsModule } from '../notifications/notifications.module.js';
import { WalletsModule } from '../money/wallets/wallets.module.js';
import { PaymentReviewMetrics } from './payment-reviews/payment-reviews.metrics.js';
import { StripeModule } from './stripe/stripe.module.js';
import { AccountAutoTopUpController, AutoTopUpController } from './auto-top-ups/auto-top-up.controller.js';
import { AutoTopUpAccountsService } from './auto-top-ups/auto-top-up-accounts.service.js';
import { AutoTopUpChargesService } from './auto-top-ups/auto-top-up-charges.service.js';
import { AutoTopUpConsentEntity, AutoTopUpEntity } from './auto-top-ups/auto-top-up.entity.js';
import { AutoTopUpEvents } from './auto-top-ups/auto-top-up.events.js';
import { AutoTopUpJob } from './auto-top-ups/auto-top-up.job.js';
import { AutoTopUpRecoveryService } from './auto-top-ups/auto-top-up-recovery.service.js';
import { AutoTopUpRepository } from './auto-top-ups/auto-top-up.repository.js';
import { AutoTopUpSettingsService } from './auto-top-ups/auto-top-up-settings.service.js';
import { AutoTopUpSettlementService } from './auto-top-ups/auto-top-up-settlement.service.js';
import { AutoTopUpStartsService } from './auto-top-ups/auto-top-up-starts.service.js';
import { AutoTopUpSwitchService } from './auto-top-ups/auto-top-up-switch.service.js';
import { SavedCardEntity } from './auto-top-ups/saved-card.entity.js';
import { SavedCardsController } from './auto-top-ups/saved-cards.controller.js';
import { SavedCardsService } from './auto-top-ups/saved-cards.service.js';
import { DisputeEntity } from './disputes/dispute.entity.js';
import { MovementBookingJob } from './disputes/movement-booking.job.js';
import { MovementBookingService } from './disputes/movement-booking.service.js';
import { DisputeMovementEntity } from './disputes/dispute-movement.entity.js';
import { DisputeMovementRepository } from './disputes/dispute-movement.repository.js';
import { DisputeSettlementService } from './disputes/dispute-settlement.service.js';
import { DisputeRepository } from './disputes/dispute.repository.js';
import { DisputesController } from './disputes/disputes.controller.js';
import { DisputesService } from './disputes/disputes.service.js';
import {
  AccountRefundsController,
  RefundWriteOffsController,
  RefundsController,
} from './refunds/refunds.controller.js';
import { RefundEntity } from './refunds/refund.entity.js';
import { RefundEvents } from './refunds/refund.events.js';
import { RefundRepository } from './refunds/refund.repository.js';
import { FailedRefundBookingService } from './refunds/failed-refund-booking.service.js';
import { RefundSettlementService } from './refunds/refund-settlement.service.js';
import { RefundSweepJob } from './refunds/refund-sweep.job.js';
import { RefundsService } from './refunds/refunds.service.js';
import { UncreditedRefundsService } from './payment-reviews/uncredited-refunds.service.js';
import { PaymentReviewDecisionEntity, PaymentReviewEntity } from './payment-reviews/payment-review.entity.js';
import { PaymentReviewRepository } from './payment-reviews/payment-review.repository.js';
import { PaymentReviewSweepJob } from './payment-reviews/payment-review-sweep.job.js';
import { PaymentReviewsController } from './payment-reviews/payment-reviews.controller.js';
import { PaymentReviewsService } from './payment-reviews/payment-reviews.service.js';
import { CheckoutReturnController } from './top-ups/checkout-return.controller.js';
import { PaymentFailureEntity } from './top-ups/limits/payment-failure.entity.js';
import { PaymentFailuresService } from './top-ups/limits/payment-failures.service.js';
import { TopUpLimitsRepository } from './top-ups/limits/top-up-limits.repository.js';
import { TopUpLimitsService } from './top-ups/limits/top-up-limits.service.js';
import { CheckoutReturnsService } from './top-ups/checkout-returns.service.js';
import { TopUpCheckoutService } from './top-ups/top-up-checkout.service.js';
import { TopUpEntity } from './top-ups/top-up.entity.js';
import { TopUpSettlementService } from './settlement/top-up-settlement.service.js';
import { TopUpRepository } from './top-ups/top-up.repository.js';
import { TopUpSweepJob } from './settlement/top-up-sweep.job.js';
import { TopUpsController } from './top-ups/top-ups.controller.js';
import { TopUpsService } from './top-ups/top-ups.service.js';

/** Credit that customers buy: the quote, the payment page, and the settlement into the wallet. */
@Module({
  imports: [
    AccountsModule,
    JobsModule,
    NotificationsModule,
    StripeModule,
    WalletsModule,
    TypeOrmModule.forFeature([
      AutoTopUpEntity,
      AutoTopUpConsentEntity,
      SavedCardEntity,
      TopUpEntity,
      PaymentFailureEntity,
      RefundEntity,
      DisputeEntity,
      DisputeMovementEntity,
      PaymentReviewEntity,
      PaymentReviewDecisionEntity,
    ]),
  ],
  controllers: [
    TopUpsController,
    CheckoutReturnController,
    AutoTopUpController,
    SavedCardsController,
    AccountAutoTopUpController,
    RefundsController,
    RefundWriteOffsController,
    AccountRefundsController,
    DisputesController,
    PaymentReviewsController,
  ],
  providers: [
    TopUpLimitsRepository,
    TopUpLimitsService,
    PaymentFailuresService,
    TopUpRepository,
    TopUpsService,
    CheckoutReturnsService,
    TopUpCheckoutService,
    TopUpSettlementService,
    TopUpSweepJob,
    AutoTopUpRepository,
    AutoTopUpAccountsService,
    AutoTopUpSettingsService,
    AutoTopUpSwitchService,
    AutoTopUpStartsService,
    AutoTopUpChargesService,
    AutoTopUpSettlementService,
    AutoTopUpRecoveryService,
    AutoTopUpEvents,
    AutoTopUpJob,
    SavedCardsService,
    RefundRepository,
    RefundsService,
    FailedRefundBookingService,
    RefundSettlementService,
    RefundEvents,
    RefundSweepJob,
    DisputeRepository,
    DisputeMovementRepository,
    MovementBookingService,
    MovementBookingJob,
    DisputesService,
    DisputeSettlementService,
    PaymentReviewRepository,
    PaymentReviewsService,
    UncreditedRefundsService,
    PaymentReviewSweepJob,
    PaymentReviewMetrics,
  ],
})
export class PaymentsModule {}

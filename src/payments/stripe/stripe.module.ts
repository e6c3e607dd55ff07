import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { StripeMetrics } from './stripe.metrics.js';
import { StripeBalanceList } from './stripe-balance-list.js';
import { StripeEventCursorEntity } from './gap-fill/stripe-event-cursor.entity.js';
import { StripeEventList, StripeGapFillService } from './gap-fill/stripe-gap-fill.service.js';
import { StripeGapFillJob } from './gap-fill/stripe-gap-fill.job.js';
import { OFF_SESSION_PAYMENTS } from './off-session-payments.js';
import { PAYMENT_GATEWAY } from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';
import { StripeCharges } from './stripe-charges.js';
import { StripeCustomerEntity } from './stripe-customer.entity.js';
import { StripeCustomersService } from './stripe-customers.service.js';
import { StripeEventEntity } from './stripe-event.entity.js';
import { StripeEventHandlers, StripeEventJob, StripeInboxService } from './stripe-inbox.service.js';
import { StripeGateway, StripeOffSessionPayments } from './stripe.gateway.js';
import { StripeUncreditedRefunds } from './stripe-uncredited-refunds.js';
import { StripeWebhookController } from './stripe-webhook.controller.js';

/** The only importer of `stripe`. The rest of the service uses its API through ports, and its events through the inbox. */
@Module({
  imports: [
    JobsModule,
    TypeOrmModule.forFeature([StripeCustomerEntity, StripeEventEntity, StripeEventCursorEntity]),
  ],
  controllers: [StripeWebhookController],
  providers: [
    { provide: PAYMENT_GATEWAY, useClass: StripeGateway },
    { provide: OFF_SESSION_PAYMENTS, useClass: StripeOffSessionPayments },
    StripeApi,
    StripeBalanceList,
    StripeCharges,
    StripeCustomersService,
    StripeEventHandlers,
    StripeEventJob,
    StripeEventList,
    StripeGapFillService,
    StripeGapFillJob,
    StripeInboxService,
    StripeMetrics,
    StripeUncreditedRefunds,
  ],
  exports: [
    PAYMENT_GATEWAY,
    OFF_SESSION_PAYMENTS,
    StripeBalanceList,
    StripeCharges,
    StripeCustomersService,
    StripeEventHandlers,
    StripeUncreditedRefunds,
  ],
})
export class StripeModule {}

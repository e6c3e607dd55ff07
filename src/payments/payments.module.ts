import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { StripeEventCursorEntity } from './gap-fill/stripe-event-cursor.entity.js';
import { StripeEventList } from './gap-fill/stripe-event-list.js';
import { StripeGapFillJob } from './gap-fill/stripe-gap-fill.job.js';
import { StripeGapFill } from './gap-fill/stripe-gap-fill.service.js';
import { PAYMENT_GATEWAY } from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';
import { StripeCharges } from './stripe-charges.js';
import { StripeCustomerEntity } from './stripe-customer.entity.js';
import { StripeCustomers } from './stripe-customers.service.js';
import { StripeEventEntity } from './stripe-event.entity.js';
import { StripeEventHandlers } from './stripe-event-handlers.js';
import { StripeEventJob } from './stripe-event.job.js';
import { StripeGateway } from './stripe.gateway.js';
import { StripeInbox } from './stripe-inbox.service.js';
import { StripeWebhookController } from './stripe-webhook.controller.js';
import { StripeWebhook } from './stripe-webhook.service.js';

/** The only importer of `stripe`: its API behind a port, and its events through an inbox. */
@Module({
  imports: [
    JobsModule,
    TypeOrmModule.forFeature([StripeCustomerEntity, StripeEventEntity, StripeEventCursorEntity]),
  ],
  controllers: [StripeWebhookController],
  providers: [
    { provide: PAYMENT_GATEWAY, useClass: StripeGateway },
    StripeApi,
    StripeCharges,
    StripeCustomers,
    StripeEventHandlers,
    StripeEventJob,
    StripeEventList,
    StripeGapFill,
    StripeGapFillJob,
    StripeInbox,
    StripeWebhook,
  ],
  exports: [PAYMENT_GATEWAY, StripeCharges, StripeCustomers, StripeEventHandlers],
})
export class PaymentsModule {}

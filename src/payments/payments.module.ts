import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { PAYMENT_GATEWAY } from './payment-gateway.js';
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
  imports: [JobsModule, TypeOrmModule.forFeature([StripeCustomerEntity, StripeEventEntity])],
  controllers: [StripeWebhookController],
  providers: [
    { provide: PAYMENT_GATEWAY, useClass: StripeGateway },
    StripeCustomers,
    StripeEventHandlers,
    StripeEventJob,
    StripeInbox,
    StripeWebhook,
  ],
  exports: [PAYMENT_GATEWAY, StripeCustomers, StripeEventHandlers],
})
export class PaymentsModule {}

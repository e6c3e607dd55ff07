import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { RateLimitsModule } from '../rate-limits/rate-limits.module.js';
import { WebhookDeliveriesController } from './webhooks/webhook-deliveries.controller.js';
import { WebhookDeliveriesService } from './webhooks/webhook-deliveries.service.js';
import { WebhookDeliveryEntity } from './webhooks/webhook-delivery.entity.js';
import { WebhookDeliveryJob } from './webhooks/webhook-delivery.job.js';
import { WebhookDeliveryQueue } from './webhooks/webhook-delivery-queue.service.js';
import { WebhookEndpointEntity } from './webhooks/webhook-endpoint.entity.js';
import { WebhookEndpointRepository } from './webhooks/webhook-endpoint.repository.js';
import { WebhookEndpointsController } from './webhooks/webhook-endpoints.controller.js';
import { WebhookEndpointsService } from './webhooks/webhook-endpoints.service.js';
import { WebhookEventEntity } from './webhooks/webhook-event.entity.js';
import { WebhookEvents } from './webhooks/webhook-events.service.js';
import { WebhookRetentionJob } from './webhooks/webhook-retention.job.js';
import { WebhookSecrets } from './webhooks/webhook-secrets.service.js';
import { dnsResolver, HOST_RESOLVER, WebhookSender } from './webhooks/webhook-sender.js';

/** How customers are told what happens. The rest of the product says it to `WebhookEvents`. */
@Module({
  imports: [
    JobsModule,
    RateLimitsModule,
    TypeOrmModule.forFeature([WebhookEndpointEntity, WebhookEventEntity, WebhookDeliveryEntity]),
  ],
  controllers: [WebhookEndpointsController, WebhookDeliveriesController],
  providers: [
    { provide: HOST_RESOLVER, useValue: dnsResolver },
    WebhookDeliveriesService,
    WebhookDeliveryJob,
    WebhookDeliveryQueue,
    WebhookEndpointRepository,
    WebhookEndpointsService,
    WebhookEvents,
    WebhookRetentionJob,
    WebhookSecrets,
    WebhookSender,
  ],
  exports: [WebhookEvents],
})
export class NotificationsModule {}

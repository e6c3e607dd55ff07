import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SETTINGS } from '../platform/config/settings.js';
import { JobsModule } from '../platform/jobs/jobs.module.js';
import { RateLimitsModule } from '../identity/rate-limits/rate-limits.module.js';
import { WalletsModule } from '../money/wallets/wallets.module.js';
import { dnsResolver, HOST_RESOLVER } from '../platform/egress/outside-hosts.js';
import { NotificationMetrics } from './notifications.metrics.js';
import { AlertLinksController } from './alerts/alert-links.controller.js';
import { AlertLinksService } from './alerts/alert-links.service.js';
import { LinkTokens } from './alerts/link-tokens.js';
import { WalletAlertJob } from './wallet-alert.job.js';
import { WalletAlertsController } from './alerts/wallet-alerts.controller.js';
import { WalletAlertsEntity } from './alerts/wallet-alerts.entity.js';
import { WalletAlertsService } from './alerts/wallet-alerts.service.js';
import { AlertEmailEntity } from './alerts/alert-email.entity.js';
import { AlertEmailJob } from './alerts/alert-email.job.js';
import { AlertEmailsService } from './alerts/alert-emails.service.js';
import { chooseTransport } from './email/choose-transport.js';
import { MAIL_TRANSPORT } from './email/mail-transport.js';
import { WebhookAttemptsService } from './webhooks/webhook-attempts.service.js';
import { WebhookDeliveriesController } from './webhooks/webhook-deliveries.controller.js';
import { WebhookDeliveriesService } from './webhooks/webhook-deliveries.service.js';
import { WebhookDeliveryEntity } from './webhooks/webhook-delivery.entity.js';
import { WebhookDeliveryJob } from './webhooks/webhook-delivery.job.js';
import { WebhookDeliveryQueueService } from './webhooks/webhook-delivery-queue.service.js';
import { WebhookEndpointEntity } from './webhooks/webhook-endpoint.entity.js';
import { WebhookEndpointRepository } from './webhooks/webhook-endpoint.repository.js';
import { WebhookEndpointsController } from './webhooks/webhook-endpoints.controller.js';
import { WebhookEndpointsService } from './webhooks/webhook-endpoints.service.js';
import { WebhookEventEntity } from './webhooks/webhook-event.entity.js';
import { WebhookEventsService } from './webhooks/webhook-events.service.js';
import { WebhookResealJob } from './webhooks/webhook-reseal.job.js';
import { WebhookRetentionJob } from './webhooks/webhook-retention.job.js';
import { WebhookSecretsService } from './webhooks/webhook-secrets.service.js';
import { WebhookSender } from './webhooks/webhook-sender.js';

const WEBHOOKS = [
  { provide: HOST_RESOLVER, useValue: dnsResolver },
  WebhookAttemptsService,
  WebhookDeliveriesService,
  WebhookDeliveryJob,
  WebhookDeliveryQueueService,
  WebhookEndpointRepository,
  WebhookEndpointsService,
  WebhookEventsService,
  WebhookResealJob,
  WebhookRetentionJob,
  WebhookSecretsService,
  WebhookSender,
];

const ALERTS = [
  { provide: MAIL_TRANSPORT, inject: [SETTINGS], useFactory: chooseTransport },
  AlertEmailJob,
  AlertEmailsService,
  AlertLinksService,
  LinkTokens,
  WalletAlertJob,
  WalletAlertsService,
];

/** Notifies customers by webhook and e-mail. The rest of the service publishes its events with `WebhookEventsService`. */
@Module({
  imports: [
    JobsModule,
    RateLimitsModule,
    WalletsModule,
    TypeOrmModule.forFeature([
      WebhookEndpointEntity,
      WebhookEventEntity,
      WebhookDeliveryEntity,
      WalletAlertsEntity,
      AlertEmailEntity,
    ]),
  ],
  controllers: [
    WebhookEndpointsController,
    WebhookDeliveriesController,
    WalletAlertsController,
    AlertLinksController,
  ],
  providers: [...WEBHOOKS, ...ALERTS, NotificationMetrics],
  exports: [WebhookEventsService],
})
export class NotificationsModule {}

import { Module } from '@nestjs/common';
import { NOTIFICATIONS_OBSERVER } from './notifications-observer.js';
import { NotificationMetrics } from './notifications.metrics.js';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SETTINGS } from '../platform/config/settings.js';
import { JobsModule } from '../platform/jobs/jobs.module.js';
import { RateLimitsModule } from '../identity/rate-limits/rate-limits.module.js';
import { WalletsModule } from '../money/wallets/wallets.module.js';
import { AlertLinksController } from './alerts/alert-links.controller.js';
import { AlertLinks } from './alerts/alert-links.service.js';
import { LinkTokens } from './alerts/link-tokens.js';
import { WalletAlertJob } from './alerts/wallet-alert.job.js';
import { WalletAlertsController } from './alerts/wallet-alerts.controller.js';
import { WalletAlertsEntity } from './alerts/wallet-alerts.entity.js';
import { WalletAlerts } from './alerts/wallet-alerts.service.js';
import { AlertEmailEntity } from './email/alert-email.entity.js';
import { AlertEmailJob } from './email/alert-email.job.js';
import { AlertEmails } from './email/alert-emails.service.js';
import { chooseTransport } from './email/choose-transport.js';
import { MAIL_TRANSPORT } from './email/mail-transport.js';
import { NotificationStatistics } from './notification-statistics.service.js';
import { WebhookAttempts } from './webhooks/webhook-attempts.service.js';
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
import { WebhookResealJob } from './webhooks/webhook-reseal.job.js';
import { WebhookRetentionJob } from './webhooks/webhook-retention.job.js';
import { WebhookSecrets } from './webhooks/webhook-secrets.service.js';
import { dnsResolver, HOST_RESOLVER } from '../platform/egress/outside-hosts.js';
import { WebhookSender } from './webhooks/webhook-sender.js';

const WEBHOOKS = [
  { provide: HOST_RESOLVER, useValue: dnsResolver },
  WebhookAttempts,
  WebhookDeliveriesService,
  WebhookDeliveryJob,
  WebhookDeliveryQueue,
  WebhookEndpointRepository,
  WebhookEndpointsService,
  WebhookEvents,
  WebhookResealJob,
  WebhookRetentionJob,
  WebhookSecrets,
  WebhookSender,
];

const ALERTS = [
  { provide: MAIL_TRANSPORT, inject: [SETTINGS], useFactory: chooseTransport },
  AlertEmailJob,
  AlertEmails,
  AlertLinks,
  LinkTokens,
  WalletAlertJob,
  WalletAlerts,
];

const METRICS = [
  NotificationStatistics,
  NotificationMetrics,
  { provide: NOTIFICATIONS_OBSERVER, useExisting: NotificationMetrics },
];

/** Notifies customers by webhook and e-mail. The rest of the service publishes its events with `WebhookEvents`. */
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
  providers: [...WEBHOOKS, ...ALERTS, ...METRICS],
  exports: [WebhookEvents],
})
export class NotificationsModule {}

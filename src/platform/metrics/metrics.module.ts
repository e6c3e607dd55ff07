import { type DynamicModule, Global, Module } from '@nestjs/common';
import type { Settings } from '../config/settings.js';
import { GENERATION_OBSERVER } from '../../gateway/images/calls/generation-observer.js';
import { JOB_OBSERVER } from '../jobs/job-observer.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { NOTIFICATIONS_OBSERVER } from '../../notifications/notifications-observer.js';
import { NotificationsModule } from '../../notifications/notifications.module.js';
import { PAYMENTS_OBSERVER } from '../../payments/stripe/payments-observer.js';
import { ENGINE_OBSERVER } from '../../money/wallets/engine-observer.js';
import { EngineMetrics } from './engine-metrics.js';
import { GenerationMetrics } from './generation-metrics.js';
import { JobMetrics } from './job-metrics.js';
import { JobQueueMetrics } from './job-queue-metrics.js';
import { MetricsController } from './metrics.controller.js';
import { metricsAccess } from './metrics-access.js';
import { MetricsRegistry } from './metrics-registry.js';
import { MetricsServer } from './metrics-server.js';
import { NotificationMetrics } from './notification-metrics.js';
import { PaymentMetrics } from './payment-metrics.js';
import { PaymentReviewMetrics } from './payment-review-metrics.js';
import { RequestMetrics } from './request-metrics.js';

/** Global, because those who are observed are told their observer without knowing that there are metrics. */
@Global()
@Module({
  imports: [JobsModule, NotificationsModule],
  providers: [
    MetricsRegistry,
    MetricsServer,
    RequestMetrics,
    EngineMetrics,
    JobMetrics,
    JobQueueMetrics,
    GenerationMetrics,
    NotificationMetrics,
    PaymentMetrics,
    PaymentReviewMetrics,
    { provide: ENGINE_OBSERVER, useExisting: EngineMetrics },
    { provide: JOB_OBSERVER, useExisting: JobMetrics },
    { provide: GENERATION_OBSERVER, useExisting: GenerationMetrics },
    { provide: NOTIFICATIONS_OBSERVER, useExisting: NotificationMetrics },
    { provide: PAYMENTS_OBSERVER, useExisting: PaymentMetrics },
  ],
  exports: [
    RequestMetrics,
    ENGINE_OBSERVER,
    JOB_OBSERVER,
    GENERATION_OBSERVER,
    NOTIFICATIONS_OBSERVER,
    PAYMENTS_OBSERVER,
  ],
})
export class MetricsModule {
  static with(settings: Settings): DynamicModule {
    const isRoute = metricsAccess(settings) !== 'absent';
    return { module: MetricsModule, controllers: isRoute ? [MetricsController] : [] };
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram } from 'prom-client';
import { CLOCK, type MonotonicClock } from '../platform/common/clock.js';
import { databaseFigures, MetricsRegistry } from '../platform/metrics/metrics-registry.js';
import type { EmailOutcome, NotificationsObserver } from './notifications-observer.js';
import { type Backlog, NotificationStatistics } from './notification-statistics.service.js';

/** Receivers have 15 s. A job waits for a quarter of a second, and slower receivers are awaited in the background. */
const BUCKETS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15];

/** The metrics of notifications: their attempts, and the backlog. */
@Injectable()
export class NotificationMetrics implements NotificationsObserver {
  private readonly webhooks: Histogram;
  private readonly emails: Counter;

  constructor(
    registry: MetricsRegistry,
    statistics: NotificationStatistics,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.webhooks = new Histogram({
      name: 'coffer_webhook_attempt_seconds',
      help: 'Attempts to deliver webhooks, by outcome: 2xx and so on for an answer, otherwise why there was none.',
      labelNames: ['outcome'],
      buckets: BUCKETS_SECONDS,
      registers: [registry],
    });
    const toFigures = (load: () => Promise<Backlog>) => databaseFigures<Backlog | null>(clock, load, null);
    this.emails = new Counter({
      name: 'coffer_email_attempts_total',
      help: 'Attempts to send an e-mail, by outcome: sent, retried (sent again later), failed (given up).',
      labelNames: ['outcome'],
      registers: [registry],
    });
    addBacklog(
      registry,
      'webhook',
      'deliveries of webhooks',
      toFigures(() => statistics.webhooks()),
    );
    addBacklog(
      registry,
      'email',
      'e-mails',
      toFigures(() => statistics.emails()),
    );
  }

  webhookAttempted(outcome: string, durationMs: number): void {
    this.webhooks.observe({ outcome }, durationMs / 1_000);
  }

  emailAttempted(outcome: EmailOutcome): void {
    this.emails.inc({ outcome });
  }
}

function addBacklog(
  registry: MetricsRegistry,
  name: string,
  what: string,
  read: () => Promise<Backlog | null>,
): void {
  new Gauge({
    name: `coffer_${name}_pending`,
    help: `How many ${what} wait for an attempt, due or not.`,
    registers: [registry],
    async collect() {
      const backlog = await read();
      if (backlog === null) this.reset();
      else this.set(backlog.pending);
    },
  });
  new Gauge({
    name: `coffer_${name}_oldest_due_seconds`,
    help: `For how many seconds the oldest of the ${what} that are due has been due.`,
    registers: [registry],
    async collect() {
      const backlog = await read();
      if (backlog === null) this.reset();
      else this.set(backlog.oldestSeconds);
    },
  });
}

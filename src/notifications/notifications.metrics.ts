import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram } from 'prom-client';
import { DataSource } from 'typeorm';
import { CLOCK, type Clock, type MonotonicClock } from '../platform/common/clock.js';
import { LEDGER_CLOCK } from '../platform/database/ledger-clock.js';
import { databaseFigures, MetricsRegistry } from '../platform/metrics/metrics-registry.js';

/** Receivers have 15 s. A job waits for a quarter of a second, and slower receivers are awaited in the background. */
const BUCKETS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15];

type Backlog = {
  /** How many wait for an attempt, due or not. */
  readonly pending: number;
  /** For how long the one that is due longest has been due. */
  readonly oldestSeconds: number;
};

/** Reads an index only, because each table has a partial index of its pending rows. */
const toBacklogQuery = (table: 'webhook_deliveries' | 'alert_emails') => `
  SELECT count(*)::int AS pending,
         greatest(0, coalesce(extract(epoch FROM $1::timestamptz - min(next_attempt_at)), 0))::float8 AS "oldestSeconds"
    FROM ${table} WHERE status = 'pending'`;

/** The metrics of notifications: their attempts, and the webhook deliveries and mails that are not sent yet. */
@Injectable()
export class NotificationMetrics {
  private readonly webhooks: Histogram;
  private readonly emails: Counter;

  constructor(
    registry: MetricsRegistry,
    private readonly dataSource: DataSource,
    @Inject(CLOCK) clock: MonotonicClock,
    @Inject(LEDGER_CLOCK) private readonly ledgerClock: Clock,
  ) {
    this.webhooks = new Histogram({
      name: 'coffer_webhook_attempt_seconds',
      help: 'Attempts to deliver webhooks, by outcome: 2xx and so on for an answer, otherwise why there was none.',
      labelNames: ['outcome'],
      buckets: BUCKETS_SECONDS,
      registers: [registry],
    });
    this.emails = new Counter({
      name: 'coffer_email_attempts_total',
      help: 'Attempts to send an e-mail, by outcome: sent, retried (sent again later), failed (given up).',
      labelNames: ['outcome'],
      registers: [registry],
    });
    const read = (table: 'webhook_deliveries' | 'alert_emails') =>
      databaseFigures<Backlog | null>(clock, () => this.readBacklog(table), null);
    addBacklog(registry, 'webhook', 'deliveries of webhooks', read('webhook_deliveries'));
    addBacklog(registry, 'email', 'e-mails', read('alert_emails'));
  }

  /** Called when an attempt to deliver a webhook ends. `outcome` is `2xx` and so on for an answer, or the reason why there was none. */
  webhookAttempted(outcome: string, durationMs: number): void {
    this.webhooks.observe({ outcome }, durationMs / 1_000);
  }

  emailAttempted(outcome: 'sent' | 'retried' | 'failed'): void {
    this.emails.inc({ outcome });
  }

  private async readBacklog(table: 'webhook_deliveries' | 'alert_emails'): Promise<Backlog> {
    const now = new Date(this.ledgerClock.nowMs()).toISOString();
    const [row] = await this.dataSource.query<Backlog[]>(toBacklogQuery(table), [now]);
    return row ?? { pending: 0, oldestSeconds: 0 };
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

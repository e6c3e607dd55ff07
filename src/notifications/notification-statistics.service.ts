import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../platform/common/clock.js';
import { LEDGER_CLOCK } from '../platform/database/ledger-clock.js';

export type Backlog = {
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

/** Counts the webhook deliveries and mails that are not sent yet. */
@Injectable()
export class NotificationStatistics {
  constructor(
    private readonly dataSource: DataSource,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  webhooks(): Promise<Backlog> {
    return this.read(toBacklogQuery('webhook_deliveries'));
  }

  emails(): Promise<Backlog> {
    return this.read(toBacklogQuery('alert_emails'));
  }

  private async read(query: string): Promise<Backlog> {
    const now = new Date(this.clock.nowMs()).toISOString();
    const [row] = await this.dataSource.query<Backlog[]>(query, [now]);
    return row ?? { pending: 0, oldestSeconds: 0 };
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';

/** Longer than anyone debugs a receiver, and than anything here publishes the same event again. */
const KEPT_DAYS = 90;
/** Rows of one statement: short locks. What is left over is the next night's. */
const ROWS_PER_STATEMENT = 5_000;
const STATEMENTS_MAX = 20;

const DELETE_DELIVERIES = `
  DELETE FROM webhook_deliveries d USING (
    SELECT account_id, id FROM webhook_deliveries WHERE created_at < $1 AND status <> 'pending' LIMIT $2
  ) old WHERE d.account_id = old.account_id AND d.id = old.id AND d.status <> 'pending'`;

const DELETE_EVENTS = `
  DELETE FROM webhook_events e USING (
    SELECT account_id, id FROM webhook_events o WHERE created_at < $1
       AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.account_id = o.account_id AND d.event_id = o.id)
     LIMIT $2
  ) old WHERE e.account_id = old.account_id AND e.id = old.id`;

const DELETE_EMAILS = `
  DELETE FROM alert_emails e USING (
    SELECT account_id, id FROM alert_emails WHERE created_at < $1 AND status <> 'pending' LIMIT $2
  ) old WHERE e.account_id = old.account_id AND e.id = old.id AND e.status <> 'pending'`;

/** Forgets events, their deliveries and their mails after 90 days: they may name what a customer bought. */
@Injectable()
export class WebhookRetentionJob implements Job {
  readonly name = 'webhook_retention';
  readonly crontab = '41 3 * * *';

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - KEPT_DAYS * DAY_MS).toISOString();
    for (const statement of [DELETE_DELIVERIES, DELETE_EVENTS, DELETE_EMAILS]) {
      for (let round = 0; round < STATEMENTS_MAX; round += 1) {
        const [, deleted] = await this.dataSource.query<[unknown, number]>(statement, [
          before,
          ROWS_PER_STATEMENT,
        ]);
        if (deleted < ROWS_PER_STATEMENT) break;
      }
    }
  }
}

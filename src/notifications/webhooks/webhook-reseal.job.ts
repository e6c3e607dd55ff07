import { Injectable, Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { SealBrokenError } from '../../platform/common/sealed-box.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import { WebhookSecretsService } from './webhook-secrets.service.js';

type EndpointName = { readonly accountId: string; readonly id: string };

/** Each endpoint needs a row lock for a millisecond. The next run continues with the rest. */
export const ENDPOINTS_PER_RUN = 1_000;

/**
 * Reads two ranges of an index, so nothing is read while only one key is in use. The rows are in order of their ids, and the
 * next query starts after the last one, so that endpoints whose key is lost do not block the others.
 */
const FIND_OLD = `
  SELECT account_id AS "accountId", id FROM webhook_endpoints
   WHERE (secret_key_id < $1 OR secret_key_id > $1 OR previous_secret_key_id < $1 OR previous_secret_key_id > $1)
     AND (account_id, id) > ($2, $3)
   ORDER BY account_id, id LIMIT $4`;

/**
 * Seals signing secrets with the newest master key that an older one sealed. After the last of them the older key can be
 * removed from `COFFER_MASTER_KEYS`. Deliveries continue in the meantime, because either seal can be opened.
 */
@Injectable()
export class WebhookResealJob implements Job {
  readonly name = 'webhook_secret_reseal';
  readonly crontab = '7 * * * *';
  private readonly logger = new Logger(WebhookResealJob.name);
  private lastChecked: EndpointName = { accountId: '', id: '' };

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    private readonly secrets: WebhookSecretsService,
    private readonly transactions: TransactionRunner,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const newest = this.secrets.newestKeyId;
    if (newest === null) return;
    const { accountId, id } = this.lastChecked;
    const values = [newest, accountId, id, ENDPOINTS_PER_RUN];
    const names = await this.dataSource.query<EndpointName[]>(FIND_OLD, values);
    this.lastChecked =
      names.length < ENDPOINTS_PER_RUN ? { accountId: '', id: '' } : (names.at(-1) ?? this.lastChecked);
    const lost = new Map<string, string[]>();
    let sealed = 0;
    for (const name of names) {
      try {
        if (await this.reseal(name)) sealed += 1;
      } catch (error) {
        if (!(error instanceof SealBrokenError)) throw error;
        lost.set(error.message, [...(lost.get(error.message) ?? []), name.id]);
      }
    }
    if (sealed > 0)
      this.logger.log(
        { event: 'webhook_secrets.resealed', count: sealed, masterKey: newest },
        'Webhook secrets are sealed with the newest master key now',
      );
    for (const [why, ids] of lost) {
      this.logger.error(
        { event: 'webhook_secrets.unreadable', count: ids.length, example: ids[0], reason: why },
        'Secrets of webhook endpoints cannot be opened, so nothing is sent to them; restore the master key, or have their owners rotate the secrets',
      );
    }
  }

  /** Returns false when the endpoint was rotated or deleted in the meantime. */
  private reseal(name: EndpointName): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const endpoint = await tx.findOne(WebhookEndpointEntity, {
        where: name,
        lock: { mode: 'for_no_key_update' },
      });
      const changes = endpoint === null ? null : this.secrets.resealed(endpoint);
      if (changes === null) return false;
      await tx.update(WebhookEndpointEntity, name, changes);
      return true;
    });
  }
}

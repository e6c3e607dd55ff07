import { Injectable, Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { SealBrokenError } from '../../platform/common/sealed-box.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import type { Job } from '../../platform/jobs/job.js';
import { JobRegistry } from '../../platform/jobs/job-registry.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import { WebhookSecrets } from './webhook-secrets.service.js';

type EndpointName = { readonly accountId: string; readonly id: string };

/** Each is a row lock of a millisecond; what is left over is the next run's. */
export const ENDPOINTS_PER_RUN = 1_000;

/**
 * Two ranges of an index: with one key in use nothing is read. In order of their names, so that endpoints whose key is
 * lost, which stay, keep nobody else from being reached: the next look goes on behind them.
 */
const FIND_OLD = `
  SELECT account_id AS "accountId", id FROM webhook_endpoints
   WHERE (secret_key_id < $1 OR secret_key_id > $1 OR previous_secret_key_id < $1 OR previous_secret_key_id > $1)
     AND (account_id, id) > ($2, $3)
   ORDER BY account_id, id LIMIT $4`;

/**
 * Seals signing secrets again that an older master key sealed. When the last of them is done, that key may be taken
 * out of `COFFER_MASTER_KEYS`. Deliveries go on meanwhile: either seal opens.
 */
@Injectable()
export class WebhookResealJob implements Job {
  readonly name = 'webhook_secret_reseal';
  readonly crontab = '7 * * * *';
  private readonly logger = new Logger(WebhookResealJob.name);
  private behind: EndpointName = { accountId: '', id: '' };

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    private readonly secrets: WebhookSecrets,
    private readonly transactions: TransactionRunner,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const newest = this.secrets.newestKeyId;
    if (newest === null) return;
    const { accountId, id } = this.behind;
    const values = [newest, accountId, id, ENDPOINTS_PER_RUN];
    const names = await this.dataSource.query<EndpointName[]>(FIND_OLD, values);
    this.behind =
      names.length < ENDPOINTS_PER_RUN ? { accountId: '', id: '' } : (names.at(-1) ?? this.behind);
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
      this.logger.log(`${sealed} webhook secrets are sealed by the master key '${newest}' now.`);
    for (const [why, ids] of lost) {
      this.logger.error(
        `${ids.length} webhook endpoints cannot be signed for, so nothing is sent to them (${ids[0]} is one): ${why}. ` +
          'Put the key back, or have their owners rotate their secrets.',
      );
    }
  }

  /** False when somebody rotated or deleted it meanwhile. */
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

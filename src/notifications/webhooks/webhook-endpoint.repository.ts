import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type FindOptionsWhere, IsNull, MoreThan, Raw, Repository } from 'typeorm';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import type { DisabledReason } from './webhook-endpoint.js';
import type { WebhookEventType } from '../event-types.js';

/** Creations of endpoints of one account wait for each other, so that its limits hold. No other lock may have this number. */
const CREATION_LOCK_CLASS = 4_711_004;

type EndpointName = Pick<WebhookEndpointEntity, 'accountId' | 'id'>;

/** The rows of `webhook_endpoints`. Deleted ones are found only by the job that sends to them. */
@Injectable()
export class WebhookEndpointRepository {
  constructor(
    @InjectRepository(WebhookEndpointEntity) private readonly rows: Repository<WebhookEndpointEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  page(accountId: string, page: PageRequest): Promise<Page<WebhookEndpointEntity>> {
    return findPage(this.rows, 'webhookEndpoint', { accountId, deletedAt: IsNull() }, page);
  }

  /** Throws `ResourceMissingError`, also for an endpoint of another account and for a deleted one. */
  async require(accountId: string, id: string): Promise<WebhookEndpointEntity> {
    // Only well-formed ids reach the database, because it refuses some texts that a path can contain.
    const row = isId('webhookEndpoint', id) ? await this.rows.findOneBy(live({ accountId, id })) : null;
    if (row === null) throw new ResourceMissingError('webhook endpoint', id);
    return row;
  }

  /** Like `require`, and locks the row until the tx ends. Events can still be published to it during that time. */
  async requireLocked(tx: Tx, accountId: string, id: string): Promise<WebhookEndpointEntity> {
    const row = isId('webhookEndpoint', id)
      ? await tx.findOne(WebhookEndpointEntity, {
          where: live({ accountId, id }),
          lock: { mode: 'for_no_key_update' },
        })
      : null;
    if (row === null) throw new ResourceMissingError('webhook endpoint', id);
    return row;
  }

  /** Finds deleted endpoints too. */
  find({ accountId, id }: EndpointName): Promise<WebhookEndpointEntity | null> {
    return this.rows.findOneBy({ accountId, id });
  }

  /** Finds the endpoints that an event of this type is sent to now. */
  async idsFor(tx: Tx, accountId: string, type: WebhookEventType): Promise<readonly string[]> {
    const rows = await tx.find(WebhookEndpointEntity, {
      select: { id: true },
      where: {
        accountId,
        deletedAt: IsNull(),
        disabledReason: IsNull(),
        events: Raw((column) => `:type = ANY (${column})`, { type }),
      },
      order: { id: 'ASC' },
    });
    return rows.map(({ id }) => id);
  }

  /** Counts the endpoints that are not deleted, and those created in the last day. Concurrent creations for the account wait. */
  async countLocked(tx: Tx, accountId: string): Promise<{ readonly live: number; readonly ofToday: number }> {
    await tx.query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [CREATION_LOCK_CLASS, accountId]);
    const dayAgo = new Date(this.clock.nowMs() - DAY_MS);
    return {
      live: await tx.countBy(WebhookEndpointEntity, { accountId, deletedAt: IsNull() }),
      ofToday: await tx.countBy(WebhookEndpointEntity, { accountId, createdAt: MoreThan(dayAgo) }),
    };
  }

  /** Disables it and cancels its waiting deliveries. A reason that is already stored is kept. */
  async disable(tx: Tx, endpoint: EndpointName, reason: DisabledReason): Promise<void> {
    const disabledAt = new Date(this.clock.nowMs());
    const { accountId, id } = endpoint;
    await tx.update(
      WebhookEndpointEntity,
      { ...live({ accountId, id }), disabledReason: IsNull() },
      { disabledReason: reason, disabledAt },
    );
    await this.cancelWaiting(tx, endpoint);
  }

  async delete(tx: Tx, endpoint: EndpointName): Promise<void> {
    const { accountId, id } = endpoint;
    await tx.update(WebhookEndpointEntity, live({ accountId, id }), {
      deletedAt: new Date(this.clock.nowMs()),
      secretBox: null,
      secretKeyId: null,
      previousSecretBox: null,
      previousSecretKeyId: null,
      previousSecretExpiresAt: null,
    });
    await this.cancelWaiting(tx, endpoint);
  }

  private async cancelWaiting(tx: Tx, { accountId, id }: EndpointName): Promise<void> {
    await tx.update(
      WebhookDeliveryEntity,
      { accountId, endpointId: id, status: 'pending' },
      { status: 'canceled', nextAttemptAt: null, finishedAt: new Date(this.clock.nowMs()) },
    );
  }
}

function live({ accountId, id }: EndpointName): FindOptionsWhere<WebhookEndpointEntity> {
  return { accountId, id, deletedAt: IsNull() };
}

import { Inject, Injectable } from '@nestjs/common';
import type { AuditActor, AuditDetails, AuditEntry } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { WalletAlertsService } from '../alerts/wallet-alerts.service.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';
import type { EndpointChanges, IssuedWebhookEndpoint, WebhookEndpoint } from './webhook-endpoint.js';
import type { WebhookEventType } from '../event-types.js';
import { SECRET_OVERLAP_MS, WebhookSecretsService } from './webhook-secrets.service.js';
import { checkOutsideUrl } from '../../platform/egress/outside-url.js';

/** Every event may go to each endpoint, so this limits what one event can cost us. */
export const ENDPOINTS_MAX = 10;
/** Deleted endpoints keep a row for the log, so this stops a script that creates and deletes endpoints without end. */
export const ENDPOINTS_PER_DAY_MAX = 50;

type RecordedEndpoint = {
  readonly url: string;
  readonly events: readonly string[];
  readonly disabledReason: string | null;
};

/** Manages the endpoints of an account. Every method throws `ResourceMissingError` for an endpoint of another account. */
@Injectable()
export class WebhookEndpointsService {
  constructor(
    private readonly endpoints: WebhookEndpointRepository,
    private readonly secrets: WebhookSecretsService,
    private readonly alerts: WalletAlertsService,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Throws `InvalidRequestError` for a URL that events may not be sent to, and for too many endpoints. */
  async create(
    accountId: string,
    request: { readonly url: string; readonly events: readonly WebhookEventType[] },
    by: AuditActor,
  ): Promise<IssuedWebhookEndpoint> {
    const id = newId('webhookEndpoint');
    const url = this.checked(request.url);
    const { secret, sealed } = this.secrets.make({ accountId, id });
    const row: WebhookEndpointEntity = {
      accountId,
      id,
      url,
      events: [...request.events],
      disabledReason: null,
      disabledAt: null,
      deletedAt: null,
      secretBox: sealed.box,
      secretKeyId: sealed.keyId,
      previousSecretBox: null,
      previousSecretKeyId: null,
      previousSecretExpiresAt: null,
      failingSince: null,
      lastFailedAt: null,
      createdAt: new Date(this.clock.nowMs()),
    };
    await this.transactions.run(async (tx) => {
      await this.checkCount(tx, accountId);
      await tx.insert(WebhookEndpointEntity, row);
      await this.ensureThreshold(tx, accountId, row.events);
      await this.record(tx, by, 'webhook_endpoint.created', row, { after: toDetails(row) });
    }, by);
    return { ...this.toEndpoint(row), secret };
  }

  /** Lists endpoints, newest first. */
  async list(accountId: string, page: PageRequest): Promise<Page<WebhookEndpoint>> {
    const { data, hasMore } = await this.endpoints.page(accountId, page);
    return { data: data.map((row) => this.toEndpoint(row)), hasMore };
  }

  async require(accountId: string, id: string): Promise<WebhookEndpoint> {
    return this.toEndpoint(await this.endpoints.require(accountId, id));
  }

  /**
   * A new URL, and enabling, reset the endpoint's record of failures. Disabling cancels its waiting deliveries. Throws
   * `InvalidRequestError` for a URL that events may not be sent to.
   */
  async update(
    accountId: string,
    id: string,
    changes: EndpointChanges,
    by: AuditActor,
  ): Promise<WebhookEndpoint> {
    const url = changes.url === undefined ? undefined : this.checked(changes.url);
    await this.transactions.run(async (tx) => {
      const row = await this.endpoints.requireLocked(tx, accountId, id);
      const enables = changes.enabled === true && row.disabledReason !== null;
      const moves = url !== undefined && url !== row.url;
      await tx.update(
        WebhookEndpointEntity,
        { accountId, id },
        {
          url: url ?? row.url,
          events: [...(changes.events ?? row.events)],
          ...(enables ? { disabledReason: null, disabledAt: null } : {}),
          ...(enables || moves ? { failingSince: null, lastFailedAt: null } : {}),
        },
      );
      if (changes.enabled === false) await this.endpoints.disable(tx, { accountId, id }, 'requested');
      await this.ensureThreshold(tx, accountId, changes.events ?? []);
      await this.record(tx, by, 'webhook_endpoint.changed', row, {
        before: toDetails(row),
        after: toDetails({
          url: url ?? row.url,
          events: changes.events ?? row.events,
          disabledReason:
            changes.enabled === undefined ? row.disabledReason : changes.enabled ? null : 'requested',
        }),
      });
    }, by);
    return this.require(accountId, id);
  }

  async delete(accountId: string, id: string, by: AuditActor): Promise<void> {
    await this.transactions.run(async (tx) => {
      const row = await this.endpoints.requireLocked(tx, accountId, id);
      await this.endpoints.delete(tx, { accountId, id });
      await this.record(tx, by, 'webhook_endpoint.deleted', row, { before: toDetails(row) });
    }, by);
  }

  /** The old secret signs together with the new one for a day. At most two secrets sign, so an even older one ends at once. */
  async rotateSecret(accountId: string, id: string, by: AuditActor): Promise<IssuedWebhookEndpoint> {
    const { secret, sealed } = this.secrets.make({ accountId, id });
    await this.transactions.run(async (tx) => {
      const row = await this.endpoints.requireLocked(tx, accountId, id);
      await tx.update(
        WebhookEndpointEntity,
        { accountId, id },
        {
          secretBox: sealed.box,
          secretKeyId: sealed.keyId,
          previousSecretBox: row.secretBox,
          previousSecretKeyId: row.secretKeyId,
          previousSecretExpiresAt: new Date(this.clock.nowMs() + SECRET_OVERLAP_MS),
        },
      );
      await this.record(tx, by, 'webhook_endpoint.secret_rotated', row, {});
    }, by);
    return { ...(await this.require(accountId, id)), secret };
  }

  /** An account that subscribes to `wallet.low` needs a threshold for it. */
  private async ensureThreshold(
    tx: Tx,
    accountId: string,
    events: readonly WebhookEventType[],
  ): Promise<void> {
    if (events.includes('wallet.low')) await this.alerts.ensureThreshold(tx, accountId);
  }

  private record(
    tx: Tx,
    by: AuditActor,
    act: AuditEntry['act'],
    { accountId, id }: Pick<WebhookEndpointEntity, 'accountId' | 'id'>,
    change: Pick<AuditEntry, 'before' | 'after'>,
  ): Promise<void> {
    return this.audit.record(tx, by, { act, object: id, account: accountId, ...change });
  }

  private checked(text: string): string {
    const verdict = checkOutsideUrl(text, { loopback: this.settings.webhookLoopback });
    if ('fault' in verdict) throw new InvalidRequestError(`url ${verdict.fault}.`, 'url');
    return verdict.url.href;
  }

  private async checkCount(tx: Tx, accountId: string): Promise<void> {
    const { live, ofToday } = await this.endpoints.countLocked(tx, accountId);
    if (live >= ENDPOINTS_MAX) {
      throw new InvalidRequestError(
        `The account has ${ENDPOINTS_MAX} webhook endpoints, which is the limit. Nothing was created. Delete one first.`,
      );
    }
    if (ofToday >= ENDPOINTS_PER_DAY_MAX) {
      throw new InvalidRequestError(
        `${ENDPOINTS_PER_DAY_MAX} webhook endpoints were created in the last day, which is the limit. Nothing was created. Change one, or wait.`,
      );
    }
  }

  private toEndpoint(row: WebhookEndpointEntity): WebhookEndpoint {
    const { id, accountId, url, events, disabledReason, disabledAt, failingSince, createdAt } = row;
    const until = row.previousSecretExpiresAt;
    const previousSecretExpiresAt = until !== null && until.getTime() > this.clock.nowMs() ? until : null;
    return {
      id,
      accountId,
      url,
      events,
      disabledReason,
      disabledAt,
      failingSince,
      previousSecretExpiresAt,
      createdAt,
    };
  }
}

/** Keeps the origin only, because the rest of a URL is often a secret of the receiver. */
function toDetails({ url, events, disabledReason }: RecordedEndpoint): AuditDetails {
  return { host: new URL(url).host, events, enabled: disabledReason === null };
}

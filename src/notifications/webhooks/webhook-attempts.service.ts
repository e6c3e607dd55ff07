import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { NotificationMetrics } from '../notifications.metrics.js';
import { afterFailure, type AttemptOutcome, judge, type Verdict } from './delivery-rules.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import { WebhookDeliveryQueueService } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';
import { WebhookEventEntity } from './webhook-event.entity.js';
import { WebhookSecretsService } from './webhook-secrets.service.js';
import { WebhookSender } from './webhook-sender.js';

const USER_AGENT = 'Coffer-Webhooks/1';

/** Makes one attempt of a delivery and stores its outcome. */
@Injectable()
export class WebhookAttemptsService {
  private readonly logger = new Logger(WebhookAttemptsService.name);

  constructor(
    @InjectRepository(WebhookEventEntity) private readonly events: Repository<WebhookEventEntity>,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly queue: WebhookDeliveryQueueService,
    private readonly secrets: WebhookSecretsService,
    private readonly sender: WebhookSender,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly metrics: NotificationMetrics,
  ) {}

  /** Throws what the database throws, and `SealBrokenError`; then nothing is stored, and it has to run again. */
  async make(delivery: WebhookDelivery, endpoint: WebhookEndpointEntity): Promise<void> {
    const startedAtMs = performance.now();
    const outcome = await this.send(delivery, endpoint);
    const word = outcome.kind === 'failed' ? outcome.error : `${Math.floor(outcome.status / 100)}xx`;
    this.metrics.webhookAttempted(word, performance.now() - startedAtMs);
    await this.note(delivery, endpoint, outcome);
  }

  private async send(delivery: WebhookDelivery, endpoint: WebhookEndpointEntity): Promise<AttemptOutcome> {
    const { accountId, eventId: id } = delivery;
    const { body } = await this.events.findOneByOrFail({ accountId, id });
    const atMs = this.clock.nowMs();
    const headers = {
      'content-type': 'application/json',
      'user-agent': USER_AGENT,
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(atMs / 1_000)),
      'webhook-signature': this.secrets.sign(endpoint, { id, body, atMs }),
    };
    return this.sender.post({ url: endpoint.url, headers, body });
  }

  private async note(
    delivery: WebhookDelivery,
    endpoint: WebhookEndpointEntity,
    outcome: AttemptOutcome,
  ): Promise<void> {
    const nowMs = this.clock.nowMs();
    const attempt = delivery.attempts - delivery.attemptsBefore + 1;
    const verdict = judge(outcome, attempt, nowMs, Math.random());
    await this.transactions.run((tx) =>
      verdict.kind === 'succeeded'
        ? this.noteSuccess(tx, delivery, endpoint, outcome, nowMs)
        : this.noteFailure(tx, delivery, { outcome, verdict, nowMs }),
    );
  }

  /** The endpoint is locked before its deliveries, as everywhere, so that two transactions never wait for each other. */
  private async noteSuccess(
    tx: Tx,
    { accountId, id, endpointId }: WebhookDelivery,
    { failingSince }: WebhookEndpointEntity,
    outcome: AttemptOutcome,
    nowMs: number,
  ): Promise<void> {
    if (failingSince !== null) {
      const healthy = { failingSince: null, lastFailedAt: null };
      await tx.update(WebhookEndpointEntity, { accountId, id: endpointId }, healthy);
    }
    const now = new Date(nowMs);
    await tx.update(
      WebhookDeliveryEntity,
      { accountId, id, status: 'pending' },
      {
        ...toFacts(outcome, now),
        attempts: () => 'attempts + 1',
        status: 'succeeded',
        nextAttemptAt: null,
        finishedAt: now,
      },
    );
  }

  private async noteFailure(
    tx: Tx,
    delivery: WebhookDelivery,
    { outcome, verdict, nowMs }: { outcome: AttemptOutcome; verdict: Verdict; nowMs: number },
  ): Promise<void> {
    const { accountId, id, endpointId, attempts, nextAttemptAt } = delivery;
    const endpoint = await tx.findOne(WebhookEndpointEntity, {
      where: { accountId, id: endpointId },
      lock: { mode: 'for_no_key_update' },
    });
    if (endpoint === null) return;
    const now = new Date(nowMs);
    const next = verdict.kind === 'retry' ? new Date(verdict.atMs) : null;
    const { affected } = await tx.update(
      WebhookDeliveryEntity,
      // The row must be as it was when this attempt began. Every other attempt and every redelivery changes this time.
      { accountId, id, status: 'pending', nextAttemptAt: nextAttemptAt ?? IsNull() },
      {
        ...toFacts(outcome, now),
        attempts: attempts + 1,
        status: next === null ? 'failed' : 'pending',
        nextAttemptAt: next,
        finishedAt: next === null ? now : null,
      },
    );
    // The delivery was canceled, redelivered or attempted elsewhere in the meantime, and that decides what comes next.
    if (affected !== 1) return;
    const { failingSince, lastFailedAt, hopeless } = afterFailure(endpoint, nowMs);
    await tx.update(WebhookEndpointEntity, { accountId, id: endpointId }, { failingSince, lastFailedAt });
    if (verdict.kind === 'gone' || hopeless) {
      await this.endpoints.disable(tx, endpoint, verdict.kind === 'gone' ? 'gone' : 'failing');
      this.logger.warn(
        {
          event: 'webhook_endpoint.disabled',
          endpoint: endpointId,
          account: accountId,
          reason: verdict.kind,
        },
        'A webhook endpoint is disabled because it answered 410 or failed for too long',
      );
    } else if (next !== null) {
      await this.queue.schedule(tx, delivery, next);
    }
  }
}

function toFacts(outcome: AttemptOutcome, now: Date) {
  return outcome.kind === 'answered'
    ? { lastAttemptAt: now, responseStatus: outcome.status, error: null }
    : { lastAttemptAt: now, responseStatus: null, error: outcome.error };
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { payloadText, type Job, type JobPayload, JobRegistry } from '../../platform/jobs/job-queue.js';
import { AttemptSlots } from './attempt-slots.js';
import { WebhookAttemptsService } from './webhook-attempts.service.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import { WEBHOOK_DELIVERY_JOB, WebhookDeliveryQueueService } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';

/**
 * How long a job waits for a receiver. Most answer sooner. A slower one is awaited in the background, so that the queue
 * continues. Ten hanging receivers that are met for the first time in one queue cost the others two seconds.
 */
const PATIENCE_MS = 250;
/** After this long a job checks whether the process crashed during the attempt. It is longer than any attempt takes. */
const RECHECK_AFTER_MS = 30_000;

/**
 * Makes one attempt of one delivery. After a crash between the receiver's answer and our commit it runs again; receivers
 * recognise a repeated delivery by its `webhook-id`. When an attempt fails the job succeeds, because the next attempt is a
 * separate job.
 */
@Injectable()
export class WebhookDeliveryJob implements Job, BeforeApplicationShutdown {
  readonly name = WEBHOOK_DELIVERY_JOB;
  private readonly logger = new Logger(WebhookDeliveryJob.name);
  private readonly slots = new AttemptSlots();
  /** Attempts that continue after their job has ended. */
  private readonly background = new Set<Promise<void>>();
  private stopping = false;

  constructor(
    registry: JobRegistry,
    @InjectRepository(WebhookDeliveryEntity) private readonly deliveries: Repository<WebhookDeliveryEntity>,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly attempts: WebhookAttemptsService,
    private readonly queue: WebhookDeliveryQueueService,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  /** Finishes the attempts in the background. From now on jobs wait for their receivers themselves. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping = true;
    await this.idle();
  }

  /** Resolves when no attempt is under way in the background. */
  async idle(): Promise<void> {
    while (this.background.size > 0) await Promise.all(this.background);
  }

  /** Throws what the database throws, and `SealBrokenError`; then nothing was sent, and it has to run again. */
  async run(payload: JobPayload): Promise<void> {
    const name = { accountId: payloadText(payload, 'account_id'), id: payloadText(payload, 'delivery_id') };
    const delivery = await this.deliveries.findOneBy(name);
    if (delivery === null || delivery.status !== 'pending') return;
    const endpoint = await this.endpoints.find({ accountId: name.accountId, id: delivery.endpointId });
    // Disabling or deleting an endpoint cancels its deliveries, so this can only be a race with one of them.
    if (endpoint === null || endpoint.deletedAt !== null || endpoint.disabledReason !== null) return;
    const slot = this.slots.acquire(delivery, this.clock.nowMs());
    if (slot.kind === 'full') return this.scheduleRecheck(delivery, slot.againAtMs);
    const startedAtMs = performance.now();
    const attempt = this.attempts.make(delivery, endpoint).finally(() => {
      slot.release(performance.now() - startedAtMs <= PATIENCE_MS);
    });
    // While the job waits, a rejection fails the job. Later rejections are handled below.
    const inTime = attempt.then(() => true);
    if (this.stopping || (await Promise.race([inTime, sleep(PATIENCE_MS, false)]))) return attempt;
    this.continueInBackground(delivery, attempt);
    await this.scheduleRecheck(delivery, this.clock.nowMs() + RECHECK_AFTER_MS);
  }

  private continueInBackground({ id }: WebhookDelivery, attempt: Promise<void>): void {
    const continued = attempt
      .catch((error: unknown) =>
        this.logger.warn(
          { event: 'webhook.attempt_not_stored', delivery: id, reason: String(error) },
          'The outcome of a webhook attempt could not be stored; the delivery is attempted again',
        ),
      )
      .finally(() => this.background.delete(continued));
    this.background.add(continued);
  }

  /**
   * Queues a later check, unless an attempt was stored or a redelivery was requested in the meantime, because those have
   * queued what comes next. The lock orders them.
   */
  private scheduleRecheck(
    { accountId, id, attempts, nextAttemptAt }: WebhookDelivery,
    atMs: number,
  ): Promise<void> {
    return this.transactions.run(async (tx) => {
      const delivery = await tx.findOne(WebhookDeliveryEntity, {
        where: { accountId, id, status: 'pending', attempts, nextAttemptAt: nextAttemptAt ?? IsNull() },
        lock: { mode: 'for_no_key_update' },
      });
      if (delivery !== null) await this.queue.schedule(tx, delivery, new Date(atMs));
    });
  }
}

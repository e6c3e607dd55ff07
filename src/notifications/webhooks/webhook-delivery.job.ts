import { setTimeout as sleep } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { payloadText, type Job, type JobPayload } from '../../platform/jobs/job.js';
import { JobRegistry } from '../../platform/jobs/job-registry.js';
import { AttemptSlots } from './attempt-slots.js';
import { WebhookAttempts } from './webhook-attempts.service.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import { WEBHOOK_DELIVERY_JOB, WebhookDeliveryQueue } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';

/**
 * How long a job waits for a receiver. Most answer sooner; a slower one is waited for beside the jobs, so that the
 * line goes on. Ten receivers that hang, met for the first time in one line, cost the others two seconds.
 */
const PATIENCE_MS = 250;
/** When a job looks whether a process died while it waited: longer than any attempt takes. */
const RECHECK_AFTER_MS = 30_000;

/**
 * One attempt of one delivery. Killed between the receiver's answer and the note of it, it runs again: receivers
 * tell repetitions by `webhook-id`. A failed attempt is no failed job; the next one is a job of its own.
 */
@Injectable()
export class WebhookDeliveryJob implements Job, BeforeApplicationShutdown {
  readonly name = WEBHOOK_DELIVERY_JOB;
  private readonly logger = new Logger(WebhookDeliveryJob.name);
  private readonly slots = new AttemptSlots();
  /** Attempts that no job waits for any more. */
  private readonly beside = new Set<Promise<void>>();
  private stopping = false;

  constructor(
    registry: JobRegistry,
    @InjectRepository(WebhookDeliveryEntity) private readonly deliveries: Repository<WebhookDeliveryEntity>,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly attempts: WebhookAttempts,
    private readonly queue: WebhookDeliveryQueue,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  /** What still waits is finished; jobs that run meanwhile wait for their receivers themselves. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping = true;
    await this.idle();
  }

  /** Resolves when no attempt is under way beside the jobs. */
  async idle(): Promise<void> {
    while (this.beside.size > 0) await Promise.all(this.beside);
  }

  /** Throws what the database throws, and `SealBrokenError`: then it runs again, and nothing was sent. */
  async run(payload: JobPayload): Promise<void> {
    const name = { accountId: payloadText(payload, 'account_id'), id: payloadText(payload, 'delivery_id') };
    const delivery = await this.deliveries.findOneBy(name);
    if (delivery === null || delivery.status !== 'pending') return;
    const endpoint = await this.endpoints.find({ accountId: name.accountId, id: delivery.endpointId });
    // Disabling and deleting cancel what waits, so this is only a race with one of them.
    if (endpoint === null || endpoint.deletedAt !== null || endpoint.disabledReason !== null) return;
    const slot = this.slots.take(delivery, this.clock.nowMs());
    if (slot.kind === 'full') return this.comeBack(delivery, slot.againAtMs);
    const startedAtMs = performance.now();
    const attempt = this.attempts.make(delivery, endpoint).finally(() => {
      slot.release(performance.now() - startedAtMs <= PATIENCE_MS);
    });
    // A rejection while the patience lasts is the job's; later ones have their own handler.
    const inTime = attempt.then(() => true);
    if (this.stopping || (await Promise.race([inTime, sleep(PATIENCE_MS, false)]))) return attempt;
    this.leave(delivery, attempt);
    await this.comeBack(delivery, this.clock.nowMs() + RECHECK_AFTER_MS);
  }

  private leave({ id }: WebhookDelivery, attempt: Promise<void>): void {
    const beside = attempt
      .catch((error: unknown) => this.logger.warn(`The attempt of ${id} was not noted: ${String(error)}`))
      .finally(() => this.beside.delete(beside));
    this.beside.add(beside);
  }

  /**
   * Queues a later look, unless an attempt was noted or a redelivery asked for meanwhile: those queued what comes
   * next. The lock makes them one after the other.
   */
  private comeBack({ accountId, id, attempts, nextAttemptAt }: WebhookDelivery, atMs: number): Promise<void> {
    return this.transactions.run(async (tx) => {
      const delivery = await tx.findOne(WebhookDeliveryEntity, {
        where: { accountId, id, status: 'pending', attempts, nextAttemptAt: nextAttemptAt ?? IsNull() },
        lock: { mode: 'for_no_key_update' },
      });
      if (delivery !== null) await this.queue.schedule(tx, delivery, new Date(atMs));
    });
  }
}

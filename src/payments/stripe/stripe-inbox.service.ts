import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import {
  type Job,
  type JobPayload,
  JobQueue,
  JobRegistry,
  payloadText,
} from '../../platform/jobs/job-queue.js';
import { InvalidEventError, InvalidSignatureError, PaymentsUnavailableError } from './payments.errors.js';
import { StripeApi } from './stripe-api.js';
import { StripeEventEntity } from './stripe-event.entity.js';
import { readStripeEvent, type StripeEvent } from './stripe-event.js';

export type StripeEventHint = { readonly id: string; readonly type: string; readonly objectId: string };

/**
 * Handles one event. Events arrive late, more than once, in any order and with a stale copy of their object, so a
 * handler reads the object from Stripe and is idempotent. When it throws, it is called again later.
 */
export type StripeEventHandler = (event: StripeEventHint) => Promise<void>;

/** The handlers of each type of event. Modules register theirs while Nest builds them. */
@Injectable()
export class StripeEventHandlers {
  private readonly handlers = new Map<string, StripeEventHandler>();
  private readonly followers = new Map<string, StripeEventHandler[]>();

  /** @param types in the spelling of snapshot events, such as `checkout.session.completed`. */
  register(types: readonly string[], handler: StripeEventHandler): void {
    for (const type of types) {
      if (this.handlers.has(type)) throw new Error(`Stripe's ${type} is handled twice`);
      this.handlers.set(type, handler);
    }
  }

  /**
   * Registers a follower, which is called in addition to the handler. A follower finds missed events by other means,
   * because the gap fill does not search for types that only followers have.
   */
  follow(types: readonly string[], follower: StripeEventHandler): void {
    for (const type of types) this.followers.set(type, [...(this.followers.get(type) ?? []), follower]);
  }

  /** Every type that has a handler. */
  types(): readonly string[] {
    return [...this.handlers.keys()];
  }

  find(type: string): StripeEventHandler | null {
    const handler = this.handlers.get(type);
    const followers = this.followers.get(type);
    if (followers === undefined) return handler ?? null;
    return async (event) => {
      await handler?.(event);
      for (const follow of followers) await follow(event);
    };
  }
}

const STRIPE_EVENT_JOB = 'stripe_event';

/**
 * An event that arrived while no handler knew its type (an older version of the service stored it during an upgrade)
 * gets its job when it arrives again, from Stripe or from the gap fill.
 */
const STORE_EVENT = `
  INSERT INTO stripe_events (id, type, object_id, livemode, payload, received_at, outcome, processed_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7::text IS NULL THEN NULL ELSE $6::timestamptz END)
  ON CONFLICT (id) DO UPDATE SET outcome = NULL, processed_at = NULL
    WHERE stripe_events.outcome = 'ignored' AND excluded.outcome IS NULL
  RETURNING id`;

/** Verifies and stores what Stripe delivers. A job handles it later, so that Stripe is answered at once. */
@Injectable()
export class StripeInboxService {
  private readonly logger = new Logger(StripeInboxService.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly api: StripeApi,
    private readonly transactions: TransactionRunner,
    private readonly jobs: JobQueue,
    private readonly handlers: StripeEventHandlers,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Resolves when the event is durable. Throws `InvalidSignatureError` or `InvalidEventError`; then nothing is stored. */
  async receive(rawBody: Buffer | undefined, signature: string | undefined): Promise<void> {
    await this.store(this.verify(rawBody, signature));
  }

  /** Logs why a delivery is refused, because an answer that says it would help only forgers. */
  private verify(rawBody: Buffer | undefined, signature: string | undefined): StripeEvent {
    const { stripe } = this.settings;
    if (stripe === null) throw new PaymentsUnavailableError(new Error('Stripe is not configured'));
    const expected = { webhookSecret: stripe.webhookSecret, livemode: this.api.livemode };
    try {
      return readStripeEvent({ rawBody, signature, nowMs: this.clock.nowMs() }, expected);
    } catch (error) {
      if (error instanceof InvalidSignatureError)
        this.logger.warn(
          { event: 'stripe_webhook.signature_refused', reason: error.reason },
          'A Stripe webhook without a valid signature was refused',
        );
      if (error instanceof InvalidEventError)
        this.logger.error(
          { event: 'stripe_webhook.event_refused', err: error },
          'A signed Stripe webhook is not an event for this service and was refused',
        );
      throw error;
    }
  }

  /**
   * Stores a verified event and queues its job, in one commit. Returns false for an event that was stored before; that
   * delivery changes nothing.
   */
  async store(event: StripeEvent): Promise<boolean> {
    const handled = event.objectId !== null && this.handlers.find(event.type) !== null;
    return this.transactions.run(async (tx) => {
      const stored = await tx.query<{ id: string }[]>(STORE_EVENT, [
        event.id,
        event.type,
        event.objectId,
        event.livemode,
        event.payload,
        new Date(this.clock.nowMs()).toISOString(),
        handled ? null : 'ignored',
      ]);
      if (stored.length === 0) return false;
      if (handled) await this.jobs.add(STRIPE_EVENT_JOB, { event_id: event.id }, { tx, jobKey: event.id });
      return true;
    });
  }
}

/** Enough to see what failed; the log has the full error. */
const ERROR_LENGTH_MAX = 500;

/** Passes one stored event to its handler, and repeats that until the handler succeeds. */
@Injectable()
export class StripeEventJob implements Job {
  readonly name = STRIPE_EVENT_JOB;

  constructor(
    registry: JobRegistry,
    @InjectRepository(StripeEventEntity) private readonly events: Repository<StripeEventEntity>,
    private readonly handlers: StripeEventHandlers,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload): Promise<void> {
    const id = payloadText(payload, 'event_id');
    const event = await this.events.findOneByOrFail({ id });
    if (event.processedAt !== null) return;
    const handler = this.handlers.find(event.type);
    if (handler === null || event.objectId === null) throw new Error(`no handler for ${event.type}`);
    try {
      await handler({ id, type: event.type, objectId: event.objectId });
    } catch (error) {
      await this.events.increment({ id }, 'attempts', 1);
      await this.events.update({ id }, { lastError: String(error).slice(0, ERROR_LENGTH_MAX) });
      throw error;
    }
    const processedAt = new Date(this.clock.nowMs());
    await this.events.update({ id }, { outcome: 'handled', processedAt, lastError: null });
  }
}

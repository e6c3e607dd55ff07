import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { Stripe } from 'stripe';
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

/** Stripe's own default. An older delivery is a replay, because Stripe signs every attempt again. */
const TOLERANCE_SECONDS = 300;
/** Clocks may differ by this much. A signature further in the future would stay valid for longer than the tolerance. */
const FUTURE_TOLERANCE_SECONDS = 60;

/** The part of a delivered event that is trusted: a hint that something happened to an object. */
export type StripeEvent = {
  readonly id: string;
  /** The type in the spelling of snapshot events, such as `checkout.session.completed`. */
  readonly type: string;
  readonly objectId: string | null;
  readonly livemode: boolean;
  /** The body exactly as it was received. */
  readonly payload: string;
};

export type Delivery = {
  readonly rawBody: Buffer | undefined;
  readonly signature: string | undefined;
  readonly nowMs: number;
};

export type Expected = { readonly webhookSecret: string; readonly livemode: boolean };

/**
 * Reads the event of a delivery. Throws `InvalidSignatureError` unless these bytes were signed with our secret within
 * the tolerance, and `InvalidEventError` when the signed body is not an event of our mode.
 */
export function readStripeEvent(delivery: Delivery, expected: Expected): StripeEvent {
  return readListedEvent(verifyPayload(delivery, expected.webhookSecret), expected.livemode);
}

/** Reads an event from Stripe's own list. It needs no signature, because Stripe's API returned it. Throws `InvalidEventError`. */
export function readListedEvent(payload: string, livemode: boolean): StripeEvent {
  const event = parseEvent(payload);
  if (event.livemode !== livemode) {
    throw new InvalidEventError(livemode ? 'it is of test mode' : 'it is of live mode', 'livemode');
  }
  return event;
}

function verifyPayload({ rawBody, signature, nowMs }: Delivery, secret: string): string {
  if (rawBody === undefined || signature === undefined) throw new InvalidSignatureError('missing');
  const payload = rawBody.toString('utf8');
  const verifier = Stripe.webhooks.signature;
  if (verifier === null) throw new Error('the Stripe SDK cannot verify signatures');
  try {
    verifier.verifyHeader(payload, signature, secret, TOLERANCE_SECONDS, undefined, nowMs);
  } catch (error) {
    throw new InvalidSignatureError(
      error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : 'invalid',
    );
  }
  // The SDK accepts times in the future and uses the last of several. A header of Stripe's has exactly one time.
  const times = [...signature.matchAll(/(?:^|,)t=([^,]*)/g)].map((match) => match[1] ?? '');
  const [time = ''] = times;
  if (times.length !== 1 || !/^\d{1,12}$/.test(time)) throw new InvalidSignatureError('malformed time');
  if (Number(time) > nowMs / 1_000 + FUTURE_TOLERANCE_SECONDS)
    throw new InvalidSignatureError('signed in the future');
  return payload;
}

type EventBody = {
  readonly id?: unknown;
  readonly object?: unknown;
  readonly type?: unknown;
  readonly livemode?: unknown;
  readonly data?: { readonly object?: { readonly id?: unknown } | null } | null;
  readonly related_object?: { readonly id?: unknown } | null;
};

/** Snapshot events contain the object, and thin ones (`v2.core.event`) only name it. Neither copy is trusted. */
function parseEvent(payload: string): StripeEvent {
  const body = JSON.parse(payload) as EventBody | null;
  const { id, object, type, livemode } = body ?? {};
  if (object !== 'event' && object !== 'v2.core.event')
    throw new InvalidEventError('its object is unknown', 'object');
  if (typeof id !== 'string' || !/^evt_[A-Za-z0-9_]{1,240}$/.test(id)) {
    throw new InvalidEventError('its id is malformed', 'id');
  }
  // Brackets occur, as in `v2.core.account[requirements].updated`. Types that no handler knows are stored as well.
  if (typeof type !== 'string' || !/^[A-Za-z0-9_.[\]-]{1,200}$/.test(type)) {
    throw new InvalidEventError('its type is malformed', 'type');
  }
  if (typeof livemode !== 'boolean') throw new InvalidEventError('it names no mode', 'livemode');
  const thin = object === 'v2.core.event';
  const objectId = thin ? body?.related_object?.id : body?.data?.object?.id;
  return {
    id,
    type: thin ? type.replace(/^v1\./, '') : type,
    objectId: typeof objectId === 'string' && /^[A-Za-z0-9_]{1,255}$/.test(objectId) ? objectId : null,
    livemode,
    payload,
  };
}

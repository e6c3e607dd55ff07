import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { InvalidEventError, PaymentRequestRefusedError } from '../payments.errors.js';
import { PAYMENTS_OBSERVER, silentPaymentsObserver, type PaymentsObserver } from '../payments-observer.js';
import { StripeApi } from '../stripe-api.js';
import { StripeEventHandlers } from '../stripe-event-handlers.js';
import { readListedEvent } from '../stripe-event.js';
import { StripeInbox } from '../stripe-inbox.service.js';
import { StripeEventCursorEntity } from './stripe-event-cursor.entity.js';
import { EventCursorLostError, StripeEventList } from './stripe-event-list.js';

/** Stripe's clock is not ours, and its list may lag behind its webhooks: the last stretch is listed again. */
const OVERLAP_MS = 10 * 60_000;
/** What one run asks for at most, of one type; what is left is the next run's, which goes on from there. */
const PAGES_PER_TYPE = 10;

/** Nothing of ours can have happened at Stripe before our first customer was there. */
const FIRST_CUSTOMER = 'SELECT min(created_at) AS at FROM stripe_customers WHERE livemode = $1';

/** What the inbox ignored when nobody acted on its type is offered to it again. */
const MISSING_OF = `
  SELECT listed.id FROM unnest($1::text[]) AS listed (id)
   WHERE NOT EXISTS (
     SELECT FROM stripe_events known WHERE known.id = listed.id AND known.outcome IS DISTINCT FROM 'ignored')`;

/** A run that hung may end after its successor and put this back: then a stretch is listed twice, and none is left out. */
const SAVE_CURSOR = `
  INSERT INTO stripe_event_cursors (livemode, type, complete_until, window_until, after_id)
  VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (livemode, type) DO UPDATE
    SET complete_until = excluded.complete_until, window_until = excluded.window_until, after_id = excluded.after_id`;

/** One stretch of time whose events are being listed, newest first. */
type Window = {
  readonly type: string;
  readonly completeUntil: Date;
  readonly until: Date;
  readonly afterId: string | null;
};

type Progress = Omit<Window, 'until'> & { readonly until: Date | null };

/**
 * Finds the events that Stripe made and that never arrived here, and puts them into the inbox as if they had.
 * A stretch of time counts as complete only when its last page is stored, so a run may fail or be killed
 * anywhere: the next one lists again what was not finished, and the inbox stores each event once.
 */
@Injectable()
export class StripeGapFill {
  private readonly logger = new Logger(StripeGapFill.name);
  private readonly observer: PaymentsObserver;

  constructor(
    @InjectRepository(StripeEventCursorEntity) private readonly cursors: Repository<StripeEventCursorEntity>,
    private readonly dataSource: DataSource,
    private readonly api: StripeApi,
    private readonly list: StripeEventList,
    private readonly handlers: StripeEventHandlers,
    private readonly inbox: StripeInbox,
    @Optional() @Inject(PAYMENTS_OBSERVER) observer: PaymentsObserver | null,
  ) {
    this.observer = observer ?? silentPaymentsObserver;
  }

  /**
   * Stores what is missing of the events that Stripe created up to `untilMs`, and answers how many that were.
   * Throws `PaymentsUnavailableError`, and what the database throws; what was found until then is stored.
   */
  async fill(untilMs: number): Promise<number> {
    const beginning = this.api.configured ? await this.firstCustomerAt() : null;
    if (beginning === null) return 0;
    let missed = 0;
    for (const type of this.handlers.types()) {
      try {
        missed += await this.fillType(type, beginning, new Date(untilMs));
      } catch (error) {
        // Stripe does not list this type. That must not keep it from listing the others.
        if (!(error instanceof PaymentRequestRefusedError)) throw error;
        this.logger.error(`Stripe refuses to list ${type} events: ${error.message}`);
      }
    }
    return missed;
  }

  private async fillType(type: string, beginning: Date, now: Date): Promise<number> {
    const { livemode } = this.api;
    const cursor = await this.cursors.findOneBy({ livemode, type });
    const until = cursor?.windowUntil ?? now;
    const known = cursor?.completeUntil ?? beginning;
    // A clock that was ahead and went back must not leave the time between out.
    const completeUntil = known < until ? known : until;
    const window = { type, completeUntil, until, afterId: cursor?.afterId ?? null };
    try {
      return await this.fillWindow(window);
    } catch (error) {
      if (!(error instanceof EventCursorLostError)) throw error;
      this.logger.warn(`${error.message}; the list of ${type} begins again.`);
      return this.fillWindow({ ...window, afterId: null });
    }
  }

  private async fillWindow({ type, completeUntil, until, afterId }: Window): Promise<number> {
    const fromMs = completeUntil.getTime() - OVERLAP_MS;
    let missed = 0;
    let after = afterId;
    for (let pages = 0; pages < PAGES_PER_TYPE; pages += 1) {
      const page = await this.list.page({ type, fromMs, untilMs: until.getTime(), afterId: after });
      const stored = await this.storeMissing(page.payloads);
      missed += stored;
      if (stored > 0) this.observer.eventsMissed(type, stored);
      after = page.nextAfterId;
      await this.save(
        after === null
          ? { type, completeUntil: until, until: null, afterId: null }
          : { type, completeUntil, until, afterId: after },
      );
      if (after === null) return missed;
    }
    this.logger.warn(`There are more ${type} events than one run lists; the next run goes on.`);
    return missed;
  }

  /** Through the very door that webhooks come in by. */
  private async storeMissing(payloads: readonly string[]): Promise<number> {
    const events = payloads.flatMap((payload) => {
      try {
        return [readListedEvent(payload, this.api.livemode)];
      } catch (error) {
        if (!(error instanceof InvalidEventError)) throw error;
        this.logger.error(`Stripe lists what is no event: ${error.message}`);
        return [];
      }
    });
    const rows = await this.dataSource.query<{ id: string }[]>(MISSING_OF, [events.map(({ id }) => id)]);
    const missing = new Set(rows.map(({ id }) => id));
    let stored = 0;
    // Oldest first, as they would have come.
    for (const event of events.toReversed()) {
      if (missing.has(event.id) && (await this.inbox.receive(event))) stored += 1;
    }
    return stored;
  }

  private async save({ type, completeUntil, until, afterId }: Progress): Promise<void> {
    const times = [completeUntil.toISOString(), until?.toISOString() ?? null];
    await this.dataSource.query(SAVE_CURSOR, [this.api.livemode, type, ...times, afterId]);
  }

  private async firstCustomerAt(): Promise<Date | null> {
    const [row] = await this.dataSource.query<{ at: Date | null }[]>(FIRST_CUSTOMER, [this.api.livemode]);
    return row?.at ?? null;
  }
}

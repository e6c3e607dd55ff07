import { Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import {
  fetchPage,
  firstCustomerAt,
  readSince,
  type ListCursor,
  type ListPage,
  type ListPageRequest,
  type WindowedList,
} from '../list-window.js';
import { InvalidEventError, PaymentRequestRefusedError } from '../payments.errors.js';
import { StripeApi } from '../stripe-api.js';
import { StripeEventHandlers, StripeInboxService, readListedEvent } from '../stripe-inbox.service.js';
import { StripeMetrics } from '../stripe.metrics.js';
import { StripeEventCursorEntity } from './stripe-event-cursor.entity.js';

/** Reads Stripe's Events API. It has the events of the last 30 days, whether they were delivered or not. */
@Injectable()
export class StripeEventList {
  constructor(private readonly api: StripeApi) {}

  /**
   * Returns each event as the body that a webhook would have. Throws `ListCursorLostError`, and what the
   * `PaymentGateway` throws.
   *
   * @param type the type in the spelling of snapshot events.
   */
  async page(type: string, request: ListPageRequest): Promise<ListPage<string>> {
    const page = await fetchPage(request, (params) =>
      this.api.call('list', (stripe) => stripe.events.list({ ...params, type })),
    );
    return { ...page, items: page.items.map((event) => JSON.stringify(event)) };
  }
}

/** One run reads at most 1,000 events of each type. */
const PAGES_PER_TYPE = 10;

/** Events that the inbox ignored, because no handler knew their type, count as missing too. */
const FIND_MISSING = `
  SELECT listed.id FROM unnest($1::text[]) AS listed (id)
   WHERE NOT EXISTS (
     SELECT FROM stripe_events known WHERE known.id = listed.id AND known.outcome IS DISTINCT FROM 'ignored')`;

/** A run that hung may end after its successor and set the cursor back. Then some events are listed twice, and none is skipped. */
const SAVE_CURSOR = `
  INSERT INTO stripe_event_cursors (livemode, type, complete_until, window_until, after_id)
  VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (livemode, type) DO UPDATE
    SET complete_until = excluded.complete_until, window_until = excluded.window_until, after_id = excluded.after_id`;

/**
 * Finds the events that Stripe created and that never arrived here, and stores them in the inbox as if they had.
 * A run may fail or be killed at any point (see `readSince`); the inbox stores each event once.
 */
@Injectable()
export class StripeGapFillService {
  private readonly logger = new Logger(StripeGapFillService.name);

  constructor(
    @InjectRepository(StripeEventCursorEntity) private readonly cursors: Repository<StripeEventCursorEntity>,
    private readonly dataSource: DataSource,
    private readonly api: StripeApi,
    private readonly list: StripeEventList,
    private readonly handlers: StripeEventHandlers,
    private readonly inbox: StripeInboxService,
    private readonly metrics: StripeMetrics,
  ) {}

  /**
   * Stores the missing events that Stripe created up to `untilMs`, and returns how many there were. Throws
   * `PaymentsUnavailableError`, and what the database throws; the events that were found before that are stored.
   */
  async fill(untilMs: number): Promise<number> {
    const beginning = this.api.configured ? await firstCustomerAt(this.dataSource, this.api.livemode) : null;
    if (beginning === null) return 0;
    let missed = 0;
    for (const type of this.handlers.types()) {
      try {
        missed += await this.fillType(type, beginning, new Date(untilMs));
      } catch (error) {
        // Stripe refuses to list this type, but the other types must still be read.
        if (!(error instanceof PaymentRequestRefusedError)) throw error;
        this.logger.error(
          { event: 'stripe_events.list_refused', type, err: error },
          'Stripe refuses to list events of a type',
        );
      }
    }
    return missed;
  }

  private async fillType(type: string, beginning: Date, now: Date): Promise<number> {
    const cursor = await this.cursors.findOneBy({ livemode: this.api.livemode, type });
    const list: WindowedList<string> = {
      name: `${type} events`,
      pagesMax: PAGES_PER_TYPE,
      page: (request) => this.list.page(type, request),
      store: async (payloads) => {
        const stored = await this.storeMissing(payloads);
        if (stored > 0) this.metrics.eventsMissed(type, stored);
        return stored;
      },
      save: (progress) => this.save(type, progress),
      logger: this.logger,
    };
    return readSince(list, cursor ?? { completeUntil: beginning, windowUntil: null, afterId: null }, now);
  }

  /** Stores events through the same inbox as webhooks. */
  private async storeMissing(payloads: readonly string[]): Promise<number> {
    const events = payloads.flatMap((payload) => {
      try {
        return [readListedEvent(payload, this.api.livemode)];
      } catch (error) {
        if (!(error instanceof InvalidEventError)) throw error;
        this.logger.error(
          { event: 'stripe_events.invalid', err: error },
          'Stripe listed an object that is not a valid event; it was skipped',
        );
        return [];
      }
    });
    const rows = await this.dataSource.query<{ id: string }[]>(FIND_MISSING, [events.map(({ id }) => id)]);
    const missing = new Set(rows.map(({ id }) => id));
    let stored = 0;
    // The oldest event is stored first, in the order of delivery.
    for (const event of events.toReversed()) {
      if (missing.has(event.id) && (await this.inbox.store(event))) stored += 1;
    }
    return stored;
  }

  private async save(type: string, { completeUntil, windowUntil, afterId }: ListCursor): Promise<void> {
    const times = [completeUntil.toISOString(), windowUntil?.toISOString() ?? null];
    await this.dataSource.query(SAVE_CURSOR, [this.api.livemode, type, ...times, afterId]);
  }
}

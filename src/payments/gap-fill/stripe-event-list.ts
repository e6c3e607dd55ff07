import { Injectable } from '@nestjs/common';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from '../payments.errors.js';
import { StripeApi } from '../stripe-api.js';

/** The most that Stripe answers in one page. */
const PAGE_SIZE = 100;
const SECOND_MS = 1_000;

export type EventPageRequest = {
  /** In the spelling of snapshot events. */
  readonly type: string;
  /** Both ends are inside; Stripe knows whole seconds. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** Goes on behind this event, towards older ones. */
  readonly afterId: string | null;
};

export type EventPage = {
  /** Newest first, each as a body that a webhook could have carried. */
  readonly payloads: readonly string[];
  /** Where the next page begins; null when this was the last one. */
  readonly nextAfterId: string | null;
};

/** The cursor's event is unknown to Stripe, which forgets events after 30 days. */
export class EventCursorLostError extends Error {
  constructor(afterId: string, cause: unknown) {
    super(`Stripe does not know the event ${afterId} any more`, { cause });
    this.name = 'EventCursorLostError';
  }
}

/** What Stripe's Events API still knows: the last 30 days, delivered or not. */
@Injectable()
export class StripeEventList {
  constructor(private readonly api: StripeApi) {}

  /** Throws `EventCursorLostError`, and what the `PaymentGateway` throws. */
  async page({ type, fromMs, untilMs, afterId }: EventPageRequest): Promise<EventPage> {
    const params = {
      type,
      created: { gte: Math.floor(fromMs / SECOND_MS), lte: Math.floor(untilMs / SECOND_MS) },
      limit: PAGE_SIZE,
      ...(afterId === null ? {} : { starting_after: afterId }),
    };
    try {
      const list = await this.api.call('list', (stripe) => stripe.events.list(params));
      const last = list.data.at(-1);
      if (list.has_more && last === undefined) {
        throw new PaymentsUnavailableError(new Error('Stripe answered an empty page and promised more'));
      }
      return {
        payloads: list.data.map((event) => JSON.stringify(event)),
        nextAfterId: list.has_more ? (last?.id ?? null) : null,
      };
    } catch (error) {
      if (
        afterId !== null &&
        error instanceof PaymentRequestRefusedError &&
        error.param === 'starting_after'
      ) {
        throw new EventCursorLostError(afterId, error);
      }
      throw error;
    }
  }
}

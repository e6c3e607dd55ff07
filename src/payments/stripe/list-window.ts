import type { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from './payments.errors.js';

/** Stripe's lists may be later than its webhooks and its own clock, so the last minutes are listed again. */
const OVERLAP_MS = 10 * 60_000;
/** The most that Stripe answers in one page. */
const PAGE_SIZE = 100;
const SECOND_MS = 1_000;

/** Stripe has no objects of ours from before our first customer was created. */
const FIRST_CUSTOMER = 'SELECT min(created_at) AS at FROM stripe_customers WHERE livemode = $1';

/** The position up to which a list was read. */
export type ListCursor = {
  /** Everything up to this time is stored. */
  readonly completeUntil: Date;
  /** The end of the window that is being read; null between two windows. */
  readonly windowUntil: Date | null;
  /** The last object that was read. The window continues with older ones. */
  readonly afterId: string | null;
};

export type ListPageRequest = {
  /** Both ends are included. Stripe counts in whole seconds. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** The page starts after this object and continues with older ones. */
  readonly afterId: string | null;
};

export type ListPage<Item> = {
  /** The items are sorted with the newest first. */
  readonly items: readonly Item[];
  /** The object after which the next page starts; null when this was the last page. */
  readonly nextAfterId: string | null;
  /** When Stripe answered, by its own clock; null when the answer has no date. */
  readonly answeredAtMs: number | null;
};

/** Stripe does not know the object that the cursor names: it forgot the object, or it belongs to another Stripe account. */
export class ListCursorLostError extends Error {
  constructor(afterId: string, cause: unknown) {
    super(`Stripe does not know ${afterId} any more`, { cause });
    this.name = 'ListCursorLostError';
  }
}

/** A list at Stripe, and how its objects are stored here. */
export type WindowedList<Item> = {
  /** The name of the list in the log. */
  readonly name: string;
  /** The most pages that one run reads. The next run continues from there. */
  readonly pagesMax: number;
  /** Throws `ListCursorLostError`, and what the `PaymentGateway` throws. */
  page(request: ListPageRequest): Promise<ListPage<Item>>;
  /** Stores the items that are not stored yet, and returns how many those were. */
  store(items: readonly Item[]): Promise<number>;
  save(cursor: ListCursor): Promise<void>;
  readonly logger: Pick<Logger, 'warn'>;
};

/**
 * Stores what Stripe created since the cursor, up to `now`, and returns how much of it was new. A window of time is
 * complete only when its last page is stored, so a run may fail or be killed at any point: the next run lists the
 * unfinished window again. A window never ends later than Stripe's answer to its first page, by Stripe's clock, so
 * objects that Stripe creates later are not skipped, however far our clock is ahead.
 */
export async function readSince<Item>(
  list: WindowedList<Item>,
  cursor: ListCursor,
  now: Date,
): Promise<number> {
  const until = cursor.windowUntil ?? now;
  // When a clock that was ahead is set back, the time in between must still be listed.
  const completeUntil = cursor.completeUntil < until ? cursor.completeUntil : until;
  try {
    return await readWindow(list, completeUntil, until, cursor.afterId);
  } catch (error) {
    if (!(error instanceof ListCursorLostError)) throw error;
    list.logger.warn(
      { event: 'stripe_list.cursor_lost', list: list.name, err: error },
      'A list of Stripe is read again from its start',
    );
    return readWindow(list, completeUntil, until, null);
  }
}

async function readWindow<Item>(
  list: WindowedList<Item>,
  completeUntil: Date,
  windowUntil: Date,
  afterId: string | null,
): Promise<number> {
  const fromMs = completeUntil.getTime() - OVERLAP_MS;
  let stored = 0;
  let after = afterId;
  let until = windowUntil;
  for (let pages = 0; pages < list.pagesMax; pages += 1) {
    const page = await list.page({ fromMs, untilMs: until.getTime(), afterId: after });
    stored += await list.store(page.items);
    // The first page has the newest objects, so the window ends when that page was answered.
    if (after === null) until = earlier(until, page.answeredAtMs ?? completeUntil.getTime());
    after = page.nextAfterId;
    await list.save(
      after === null
        ? { completeUntil: until, windowUntil: null, afterId: null }
        : { completeUntil, windowUntil: until, afterId: after },
    );
    if (after === null) return stored;
  }
  list.logger.warn(
    { event: 'stripe_list.run_full', list: list.name },
    'Stripe has more than one run lists; the next run continues',
  );
  return stored;
}

function earlier(time: Date, otherMs: number): Date {
  return time.getTime() <= otherMs ? time : new Date(otherMs);
}

type StripeListParams = {
  readonly created: { readonly gte: number; readonly lte: number };
  readonly limit: number;
  readonly starting_after?: string;
};

type StripeList<Item> = {
  readonly data: readonly Item[];
  readonly has_more: boolean;
  readonly lastResponse: { readonly headers: Readonly<Record<string, string>> };
};

/** Fetches one page with Stripe's parameters. Throws what `readSince` expects. */
export async function fetchPage<Item extends { readonly id: string }>(
  { fromMs, untilMs, afterId }: ListPageRequest,
  request: (params: StripeListParams) => Promise<StripeList<Item>>,
): Promise<ListPage<Item>> {
  const created = { gte: Math.floor(fromMs / SECOND_MS), lte: Math.floor(untilMs / SECOND_MS) };
  try {
    const {
      data,
      has_more: hasMore,
      lastResponse,
    } = await request({
      created,
      limit: PAGE_SIZE,
      ...(afterId === null ? {} : { starting_after: afterId }),
    });
    const last = data.at(-1);
    if (hasMore && last === undefined) {
      throw new PaymentsUnavailableError(
        new Error('Stripe answered an empty page and said that there are more'),
      );
    }
    const answeredAtMs = Date.parse(lastResponse.headers['date'] ?? '');
    return {
      items: data,
      nextAfterId: hasMore ? (last?.id ?? null) : null,
      answeredAtMs: Number.isNaN(answeredAtMs) ? null : answeredAtMs,
    };
  } catch (error) {
    const isRefused = error instanceof PaymentRequestRefusedError && error.param === 'starting_after';
    if (afterId === null || !isRefused) throw error;
    throw new ListCursorLostError(afterId, error);
  }
}

/** The time from which a list that was never read starts; null when there is nothing to read. */
export async function firstCustomerAt(dataSource: DataSource, livemode: boolean): Promise<Date | null> {
  const [row] = await dataSource.query<{ at: Date | null }[]>(FIRST_CUSTOMER, [livemode]);
  return row?.at ?? null;
}

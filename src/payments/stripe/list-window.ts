import type { DataSource } from 'typeorm';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from './payments.errors.js';

/** Stripe's lists may lag behind its webhooks and its own clock: the last stretch is listed again. */
const OVERLAP_MS = 10 * 60_000;
/** The most that Stripe answers in one page. */
const PAGE_SIZE = 100;
const SECOND_MS = 1_000;

/** Nothing of ours can have happened at Stripe before our first customer was there. */
const FIRST_CUSTOMER = 'SELECT min(created_at) AS at FROM stripe_customers WHERE livemode = $1';

/** How far a list has been read. */
export type ListCursor = {
  /** Everything up to then is stored. */
  readonly completeUntil: Date;
  /** A stretch that was begun ends here; null: none was. */
  readonly windowUntil: Date | null;
  /** It goes on behind this object, towards older ones. */
  readonly afterId: string | null;
};

export type ListPageRequest = {
  /** Both ends are inside; Stripe knows whole seconds. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** Goes on behind this object, towards older ones. */
  readonly afterId: string | null;
};

export type ListPage<Item> = {
  /** Newest first. */
  readonly items: readonly Item[];
  /** Where the next page begins; null when this was the last one. */
  readonly nextAfterId: string | null;
  /** When Stripe answered, by its own clock; null when it did not say. */
  readonly answeredAtMs: number | null;
};

/** The object that the cursor names is unknown to Stripe: forgotten, or of another Stripe account. */
export class ListCursorLostError extends Error {
  constructor(afterId: string, cause: unknown) {
    super(`Stripe does not know ${afterId} any more`, { cause });
    this.name = 'ListCursorLostError';
  }
}

/** A list at Stripe, and where its objects go here. */
export type WindowedList<Item> = {
  /** For our log: what it lists. */
  readonly name: string;
  /** What one run asks for at most; the next run goes on where it ended. */
  readonly pagesMax: number;
  /** Throws `ListCursorLostError`, and what the `PaymentGateway` throws. */
  page(request: ListPageRequest): Promise<ListPage<Item>>;
  /** Answers how many were new; what is there already is left alone. */
  store(items: readonly Item[]): Promise<number>;
  save(cursor: ListCursor): Promise<void>;
  warn(text: string): void;
};

/**
 * Stores what Stripe made since the cursor, up to `now`, and answers how much of it was new. A stretch of time counts
 * as complete only when its last page is stored, so a run may fail or be killed anywhere: the next one lists
 * again what was not finished. And it ends at the latest when Stripe answered its first page, by Stripe's clock: what
 * Stripe makes later is never taken for listed, however far our clock is ahead.
 */
export async function readSince<Item>(
  list: WindowedList<Item>,
  cursor: ListCursor,
  now: Date,
): Promise<number> {
  const until = cursor.windowUntil ?? now;
  // A clock that was ahead and went back must not leave the time between out.
  const completeUntil = cursor.completeUntil < until ? cursor.completeUntil : until;
  try {
    return await readWindow(list, completeUntil, until, cursor.afterId);
  } catch (error) {
    if (!(error instanceof ListCursorLostError)) throw error;
    list.warn(`${error.message}; the list of ${list.name} begins again.`);
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
    // The first page names the newest objects, so the stretch ends where it was answered.
    if (after === null) until = earlier(until, page.answeredAtMs ?? completeUntil.getTime());
    after = page.nextAfterId;
    await list.save(
      after === null
        ? { completeUntil: until, windowUntil: null, afterId: null }
        : { completeUntil, windowUntil: until, afterId: after },
    );
    if (after === null) return stored;
  }
  list.warn(`There are more ${list.name} than one run lists; the next run goes on.`);
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

type StripeList<Told> = {
  readonly data: readonly Told[];
  readonly has_more: boolean;
  readonly lastResponse: { readonly headers: Readonly<Record<string, string>> };
};

/** Asks for one page, in Stripe's words. Throws what `readSince` expects. */
export async function askPage<Told extends { readonly id: string }>(
  { fromMs, untilMs, afterId }: ListPageRequest,
  ask: (params: StripeListParams) => Promise<StripeList<Told>>,
): Promise<ListPage<Told>> {
  const created = { gte: Math.floor(fromMs / SECOND_MS), lte: Math.floor(untilMs / SECOND_MS) };
  try {
    const {
      data,
      has_more: hasMore,
      lastResponse,
    } = await ask({
      created,
      limit: PAGE_SIZE,
      ...(afterId === null ? {} : { starting_after: afterId }),
    });
    const last = data.at(-1);
    if (hasMore && last === undefined) {
      throw new PaymentsUnavailableError(new Error('Stripe answered an empty page and promised more'));
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

/** Where a list that was never read begins; null: there is nothing to read. */
export async function firstCustomerAt(dataSource: DataSource, livemode: boolean): Promise<Date | null> {
  const [row] = await dataSource.query<{ at: Date | null }[]>(FIRST_CUSTOMER, [livemode]);
  return row?.at ?? null;
}

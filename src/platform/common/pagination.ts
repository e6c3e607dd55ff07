/** Stripe-style lists: newest first, cursors are ids. */
export const PAGE_LIMIT_DEFAULT = 10;
export const PAGE_LIMIT_MAX = 100;

export type PageRequest = {
  readonly limit: number;
  readonly startingAfter?: string | undefined;
  readonly endingBefore?: string | undefined;
};

export type Page<T> = { readonly data: readonly T[]; readonly hasMore: boolean };

/**
 * Makes one page of `limit + 1` rows. Rows that were fetched backwards (`ending_before`) come oldest first and
 * are reversed, so a page always lists the newest first.
 */
export function toPage<T>(rows: readonly T[], request: PageRequest): Page<T> {
  const kept = rows.slice(0, request.limit);
  return {
    data: request.endingBefore === undefined ? kept : kept.reverse(),
    hasMore: rows.length > request.limit,
  };
}

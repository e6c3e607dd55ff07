import { isSettledWithin } from './time-limits.js';

/**
 * Many times the duration of a look-up by key. With it, a request that meets one silent connection is answered in less than a
 * second. A server that usually needs longer than this receives every query twice.
 */
const HEDGE_AFTER_MS = 300;

/**
 * Reads again when the first reading is not answered in time: its connection may be silent (a server process that hangs, a
 * network that drops packets), and the second reading uses another connection. The first answer counts; rejects when both fail.
 *
 * It is meant for readings that many requests wait for together: look-ups that are gathered, a copy that all of them share. A
 * reading that each request does by itself fails only that request.
 *
 * @param read asks the database, and may run twice at the same time: it changes nothing, here or there, and either answer is
 *   valid, since both show everything that was committed before the first reading began. A caller that keeps an answer keeps
 *   only the one that this resolves with, because the other may arrive much later.
 */
export async function hedgedRead<T>(read: () => Promise<T>, hedgeAfterMs = HEDGE_AFTER_MS): Promise<T> {
  const first = read();
  if (await isSettledWithin(first, hedgeAfterMs)) return first;
  const second = read();
  return Promise.any([first, second]).catch(() => second);
}

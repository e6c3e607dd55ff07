import { isSettledWithin } from './time-limits.js';

/**
 * Many times what a look-up by key takes. With it, a request that meets one silent connection is answered in less than a second.
 * A server that needs longer than this as a rule is asked everything twice.
 */
const HEDGE_AFTER_MS = 300;

/**
 * Reads again when the first reading is not answered in time: its connection may be silent (a server process that stands still, a
 * network that drops what is sent), and the second one goes over another. The first answer counts; rejects when both failed.
 *
 * For what many requests wait for together: look-ups that gather, a copy that all of them share. A read that each request
 * does by itself fails only its own.
 *
 * @param read asks the database, and may be run twice at the same time: it changes nothing, here or there, and either answer
 *   will do, since both show all that was committed before the first was begun. Whoever keeps the answer keeps only the one that
 *   this resolves with: the other may come long after it.
 */
export async function hedgedRead<T>(read: () => Promise<T>, hedgeAfterMs = HEDGE_AFTER_MS): Promise<T> {
  const first = read();
  if (await isSettledWithin(first, hedgeAfterMs)) return first;
  const second = read();
  return Promise.any([first, second]).catch(() => second);
}

/** The work was not done in time; it may still be running. */
export class NoAnswerInTimeError extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms} ms`);
  }
}

/** Rejects with `NoAnswerInTimeError` when there is no answer within the time. The work itself continues. */
export async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const late = afterMs(ms);
  const refused = late.over.then((): never => {
    throw new NoAnswerInTimeError(ms);
  });
  return Promise.race([work, refused]).finally(late.forget);
}

/** Returns null when the work failed, or gave no answer within the time. */
export async function answerWithin<T>(work: Promise<T>, ms: number): Promise<T | null> {
  const late = afterMs(ms);
  return Promise.race([work, late.over.then(() => null)])
    .catch(() => null)
    .finally(late.forget);
}

/** Returns whether the work resolves or rejects within the time. */
export async function isSettledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const settled = work.then(
    () => true,
    () => true,
  );
  return (await answerWithin(settled, ms)) ?? false;
}

/** `forget` removes the timer, so that none remains when the work is done first. */
function afterMs(ms: number): { readonly over: Promise<void>; readonly forget: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return { over, forget: () => clearTimeout(timer) };
}

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

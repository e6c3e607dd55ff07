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

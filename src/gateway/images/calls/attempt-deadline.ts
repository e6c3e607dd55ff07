/**
 * Limits one attempt to a share of the time that its call has left, so that a provider that hangs leaves time for the next one.
 * Once the provider has named the task, the limit is lifted: a time-out would then only make the outcome unknown, and no other
 * provider is asked after an unknown outcome.
 */
export class AttemptDeadline {
  private readonly controller = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly call: AbortSignal,
    shareMs: number,
  ) {
    this.timer = setTimeout(this.abort, shareMs);
    if (call.aborted) this.abort();
    else call.addEventListener('abort', this.abort);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  extend(): void {
    clearTimeout(this.timer);
  }

  /** Clears the timer and removes the listener from the call's signal. */
  end(): void {
    this.extend();
    this.call.removeEventListener('abort', this.abort);
  }

  private readonly abort = (): void => this.controller.abort();
}

/**
 * The time of one attempt: a share of what is left of the call's, so that a provider that hangs leaves time for the
 * next one. Once the provider has named the task, the attempt has all that is left: it can only end lost then,
 * and nobody is asked after that.
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

  /** Leaves nothing behind at the call's signal. */
  end(): void {
    this.extend();
    this.call.removeEventListener('abort', this.abort);
  }

  private readonly abort = (): void => this.controller.abort();
}

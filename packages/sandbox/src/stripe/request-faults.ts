/** What goes wrong with an API request, on demand. */
export type RequestFault = {
  /** Only requests of this method and path prefix; all by default. */
  readonly method?: 'GET' | 'POST';
  readonly pathPrefix?: string;
  /** How many requests it hits; 1 by default. */
  readonly times?: number;
  /** Waits before executing: keeps a request, and its idempotency key, in flight. */
  readonly delayMs?: number;
  /**
   * - a status: answered without executing;
   * - `reset`: the connection breaks before executing;
   * - `lost`: executes, then the connection breaks: the client cannot know that it happened;
   * - absent: only the delay.
   */
  readonly outcome?: number | 'lost' | 'reset';
  /** Sent as `stripe-should-retry`, which overrides what the SDK would make of the status. */
  readonly shouldRetry?: boolean;
};

/** A queue of faults; the first that matches a request is used up by it. */
export class RequestFaults {
  private faults: { readonly fault: RequestFault; timesLeft: number }[] = [];

  add(fault: RequestFault): void {
    this.faults.push({ fault, timesLeft: fault.times ?? 1 });
  }

  clear(): void {
    this.faults = [];
  }

  take(method: string, path: string): RequestFault | null {
    const found = this.faults.find(
      ({ fault }) => (fault.method ?? method) === method && path.startsWith(fault.pathPrefix ?? ''),
    );
    if (found === undefined) return null;
    found.timesLeft -= 1;
    if (found.timesLeft <= 0) this.faults = this.faults.filter((other) => other !== found);
    return found.fault;
  }
}

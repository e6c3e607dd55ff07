/** Many times what a packet takes, and still short enough that a call that meets one silent connection ends within a second. */
const LEAST_MS = 750;
/** A server that needs longer for a packet serves nobody. */
const MOST_MS = 6_000;

/**
 * How long the answer to a packet is waited for before the connection is closed and the batch is repeated on another one.
 *
 * A server process that stands still and a server that is slow look alike. Each deadline that is missed doubles the next
 * ones, so a slow server gets the time that it needs and not a new connection for each batch; packets that are answered well in time
 * take the patience back.
 */
export class PacketDeadline {
  ms: number;

  constructor(private readonly leastMs = LEAST_MS) {
    this.ms = leastMs;
  }

  missed(): void {
    this.ms = Math.min(this.ms * 2, MOST_MS);
  }

  met(tookMs: number): void {
    if (this.ms > this.leastMs && tookMs < this.ms / 4) this.ms = Math.max(this.ms / 2, this.leastMs);
  }
}

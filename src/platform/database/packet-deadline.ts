/** Many times the duration of a packet, and still short enough that a call that meets one silent connection ends within a second. */
const LEAST_MS = 750;
/** A server that needs longer than this for a packet is unusable. */
const MOST_MS = 6_000;

/**
 * How long the answer to a packet may take before the connection is closed and the batch is repeated on another one.
 *
 * A server process that hangs and a server that is slow cannot be distinguished. Each missed deadline doubles the next
 * ones, so a slow server gets the time that it needs instead of a new connection for each batch; packets that are answered
 * well in time shorten the deadline again.
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

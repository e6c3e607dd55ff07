import type { MonotonicClock } from '../../platform/common/clock.js';
import { hedgedRead } from '../../platform/common/hedged-read.js';
import { withTimeout } from '../../platform/common/time-limits.js';
import { DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import type { Credential, Credentials } from './credentials.js';

/** As long as a request may wait for a database connection; after this it is refused instead of waiting longer. */
const LOOKUP_TIMEOUT_MS = 5_000;
/** Each is one index probe: this many take the database a few milliseconds. */
const BATCH_MAX = 500;
/** Twice the largest burst that the service is built for (10,000 concurrent calls, each with a key of its own). */
const WAITING_MAX = 20_000;
/** Fewer suspects may wait: at most fifty batches, so the last of them waits less than a second. */
const SUSPECTS_WAITING_MAX = 5_000;
/** Every batch reserves this many positions for suspects, so that a good key among them is looked up at any load. */
const SUSPECTS_PER_BATCH = 100;

/**
 * `suspect`: a key that this process has not accepted before, from an address that sends many bad ones. Suspects wait in a
 * queue of their own: for any number of invented keys, keys from other addresses are looked up without a delay.
 */
export type LookupLane = 'ordinary' | 'suspect';

export class Lookup {
  /** When the database was asked, on the caller's clock; Infinity while the look-up is still queued. */
  startedAtMs = Infinity;
  readonly answer: Promise<Credential | null>;
  resolve!: (credential: Credential | null) => void;
  reject!: (problem: DatabaseUnavailableError) => void;

  constructor(readonly hash: string) {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/**
 * Reads credentials in batches: while one query runs, the next batch is gathered. For any number of concurrent keys, good
 * or bad, authentication holds one database connection of this process, and a second one while the first is silent.
 */
export class CredentialLookups {
  private readonly waiting: Readonly<Record<LookupLane, Lookup[]>> = { ordinary: [], suspect: [] };
  private running = false;

  constructor(
    private readonly credentials: Credentials,
    private readonly clock: MonotonicClock,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
    private readonly hedgeAfterMs?: number,
  ) {}

  /** The answer rejects with `DatabaseUnavailableError` when there is none in time. */
  start(hash: string, lane: LookupLane = 'ordinary'): Lookup {
    const lookup = new Lookup(hash);
    const line = this.waiting[lane];
    if (line.length >= (lane === 'ordinary' ? WAITING_MAX : SUSPECTS_WAITING_MAX)) {
      lookup.reject(new DatabaseUnavailableError(new Error('too many keys are waiting to be looked up')));
      return lookup;
    }
    line.push(lookup);
    if (!this.running) void this.drain();
    return lookup;
  }

  private async drain(): Promise<void> {
    this.running = true;
    for (let batch = this.nextBatch(); batch.length > 0; batch = this.nextBatch()) await this.ask(batch);
    this.running = false;
  }

  private nextBatch(): Lookup[] {
    const { ordinary, suspect } = this.waiting;
    const kept = Math.min(suspect.length, SUSPECTS_PER_BATCH);
    const batch = ordinary.splice(0, BATCH_MAX - kept);
    return [...batch, ...suspect.splice(0, BATCH_MAX - batch.length)];
  }

  private async ask(batch: readonly Lookup[]): Promise<void> {
    const startedAtMs = this.clock.monotonicMs();
    for (const lookup of batch) lookup.startedAtMs = startedAtMs;
    try {
      const hashes = batch.map((lookup) => lookup.hash);
      const ask = () => this.credentials.findByHashes(hashes);
      const found = await withTimeout(hedgedRead(ask, this.hedgeAfterMs), this.timeoutMs);
      for (const lookup of batch) lookup.resolve(found.get(lookup.hash) ?? null);
    } catch (error) {
      // For any failure, the caller cannot be identified: the request is refused, and the caller may retry.
      for (const lookup of batch) lookup.reject(new DatabaseUnavailableError(error));
    }
  }
}

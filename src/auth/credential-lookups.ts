import type { MonotonicClock } from '../common/clock.js';
import { DatabaseUnavailableError } from '../problems/common.errors.js';
import type { Credential, Credentials } from './credentials.js';

/** As long as a request may wait for a database connection; then it is refused rather than left hanging. */
const LOOKUP_TIMEOUT_MS = 5_000;
/** One index probe each: this many take the database a few milliseconds. */
const BATCH_MAX = 500;
/** Twice the largest burst that the service is built for (10,000 calls at once, each with a key of its own). */
const WAITING_MAX = 20_000;

export class Lookup {
  /** When the database was asked, on the caller's clock; Infinity while the look-up still waits its turn. */
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
 * Asks for credentials in batches: while one query runs, the next one gathers. However many keys, good or
 * bad, arrive at once, authentication holds one database connection of this process and no more.
 */
export class CredentialLookups {
  private waiting: Lookup[] = [];
  private running = false;

  constructor(
    private readonly credentials: Credentials,
    private readonly clock: MonotonicClock,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
  ) {}

  /** The answer rejects with `DatabaseUnavailableError` when there is none in time. */
  start(hash: string): Lookup {
    const lookup = new Lookup(hash);
    if (this.waiting.length >= WAITING_MAX) {
      lookup.reject(new DatabaseUnavailableError(new Error('too many keys are waiting to be looked up')));
      return lookup;
    }
    this.waiting.push(lookup);
    if (!this.running) void this.drain();
    return lookup;
  }

  private async drain(): Promise<void> {
    this.running = true;
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, BATCH_MAX);
      await this.ask(batch);
    }
    this.running = false;
  }

  private async ask(batch: readonly Lookup[]): Promise<void> {
    const startedAtMs = this.clock.monotonicMs();
    for (const lookup of batch) lookup.startedAtMs = startedAtMs;
    try {
      const found = await withTimeout(
        this.credentials.findByHashes(batch.map((lookup) => lookup.hash)),
        this.timeoutMs,
      );
      for (const lookup of batch) lookup.resolve(found.get(lookup.hash) ?? null);
    } catch (error) {
      // Whatever the reason, nobody can say who this is: refuse, and let the caller retry.
      for (const lookup of batch) lookup.reject(new DatabaseUnavailableError(error));
    }
  }
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

import type { MonotonicClock } from '../../../platform/common/clock.js';
import { hedgedRead } from '../../../platform/common/hedged-read.js';
import { answerWithin } from '../../../platform/common/time-limits.js';
import type { AccountLimits, OwnLimits } from '../account-limits.js';

/** From here on, the limits of an account that calls are read again in the background. */
const REFRESH_AFTER_MS = 750;
/** Older limits are not used while the database answers: a change applies everywhere within two seconds. */
const GOOD_FOR_MS = 1_500;
/** Look-ups that no request waits for are gathered for this time: at most ten such queries a second. */
const GATHER_MS = 100;
/** A limit does not justify a longer wait than this; the call then uses the last known limits. */
const LOAD_TIMEOUT_MS = 1_000;
/** Each is one index probe. */
const BATCH_MAX = 500;
/** Each takes a hundred bytes. Beyond this, the account that was looked up longest ago is removed. */
const ACCOUNTS_MAX = 20_000;

export type LoadOwnLimits = (
  accountIds: readonly string[],
) => Promise<ReadonlyMap<string, NonNullable<OwnLimits>>>;

type Entry = { readonly limits: OwnLimits; readonly askedAtMs: number };

class Lookup {
  readonly answer: Promise<OwnLimits>;
  resolve!: (limits: OwnLimits) => void;

  constructor(readonly accountId: string) {
    this.answer = new Promise((resolve) => (this.resolve = resolve));
  }
}

/**
 * What this process knows of the limits of the accounts that call. It never fails a call: limits protect the service from
 * floods, not money, so without an answer the last known limits apply, and without any the defaults.
 * While one query runs, the accounts of the next one are gathered.
 */
export class AccountLimitsCache implements AccountLimits {
  private readonly known = new Map<string, Entry>();
  /** The look-up whose answer will be kept; other requests of the same account wait for it. */
  private readonly pending = new Map<string, Lookup>();
  private waiting: Lookup[] = [];
  private isAsking = false;
  private gathering: NodeJS.Timeout | null = null;

  constructor(
    private readonly load: LoadOwnLimits,
    private readonly clock: MonotonicClock,
  ) {}

  find(accountId: string): OwnLimits | Promise<OwnLimits> {
    const entry = this.known.get(accountId);
    const ageMs = entry === undefined ? Infinity : this.clock.monotonicMs() - entry.askedAtMs;
    if (entry !== undefined && ageMs < REFRESH_AFTER_MS) return entry.limits;
    const lookup = this.lookUp(accountId);
    if (entry !== undefined && ageMs < GOOD_FOR_MS) {
      this.gathering ??= setTimeout(() => void this.drain(), GATHER_MS).unref();
      return entry.limits;
    }
    void this.drain();
    return lookup.answer;
  }

  /** Call after a change is committed: this process applies it from then on. */
  forget(accountId: string): void {
    // A query that is running may have read the previous limits, so its answer is not kept.
    this.pending.delete(accountId);
    this.known.delete(accountId);
  }

  private lookUp(accountId: string): Lookup {
    const pending = this.pending.get(accountId);
    if (pending !== undefined) return pending;
    const lookup = new Lookup(accountId);
    this.pending.set(accountId, lookup);
    this.waiting.push(lookup);
    return lookup;
  }

  private async drain(): Promise<void> {
    if (this.gathering !== null) clearTimeout(this.gathering);
    this.gathering = null;
    if (this.isAsking) return;
    this.isAsking = true;
    while (this.waiting.length > 0) await this.ask(this.waiting.splice(0, BATCH_MAX));
    this.isAsking = false;
  }

  /** It never rejects. */
  private async ask(batch: readonly Lookup[]): Promise<void> {
    const askedAtMs = this.clock.monotonicMs();
    const accountIds = batch.map(({ accountId }) => accountId);
    const found = await answerWithin(
      hedgedRead(() => this.load(accountIds)),
      LOAD_TIMEOUT_MS,
    );
    for (const lookup of batch) {
      const { accountId } = lookup;
      const limits = found === null ? this.known.get(accountId)?.limits : found.get(accountId);
      if (this.pending.get(accountId) === lookup) {
        this.pending.delete(accountId);
        this.keep(accountId, limits ?? null, askedAtMs);
      }
      lookup.resolve(limits ?? null);
    }
  }

  private keep(accountId: string, limits: OwnLimits, askedAtMs: number): void {
    this.known.delete(accountId);
    this.known.set(accountId, { limits, askedAtMs });
    // A map keeps the order in which entries were set: the first one was looked up longest ago.
    const [oldest] = this.known.size > ACCOUNTS_MAX ? this.known.keys() : [];
    if (oldest !== undefined) this.known.delete(oldest);
  }
}

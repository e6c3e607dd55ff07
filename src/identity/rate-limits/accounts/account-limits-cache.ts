import type { MonotonicClock } from '../../../platform/common/clock.js';
import { hedgedRead } from '../../../platform/common/hedged-read.js';
import { answerWithin } from '../../../platform/common/time-limits.js';
import type { AccountLimits, OwnLimits } from '../account-limits.js';

/** An account that calls is asked for again from here on, in the background. */
const REFRESH_AFTER_MS = 750;
/** What is older is not trusted while the database answers: a change is in force everywhere within two seconds. */
const GOOD_FOR_MS = 1_500;
/** Accounts that nobody waits for are asked for together with those of this time: at most ten such queries a second. */
const GATHER_MS = 100;
/** A limit is not worth a longer wait than this; the call then goes by what was known last. */
const LOAD_TIMEOUT_MS = 1_000;
/** One index probe each. */
const BATCH_MAX = 500;
/** A hundred bytes each. Beyond it, the account that was asked for longest ago is forgotten. */
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
 * What this process knows of the limits of the accounts that call. It never fails a call: limits protect the service
 * from floods, not money, so without an answer the last known one counts, and without any the limits of everybody.
 * While one query runs, the accounts of the next one gather.
 */
export class AccountLimitsCache implements AccountLimits {
  private readonly known = new Map<string, Entry>();
  /** The look-up whose answer will be kept: whoever needs it meanwhile waits for the same one. */
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

  /** Call after a change is committed: this process goes by it from then on. */
  forget(accountId: string): void {
    // A query that is under way may have read what was there before: its answer is not kept.
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

  /** Never rejects. */
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
    // A map keeps the order in which entries were set: the first one was asked for longest ago.
    const [oldest] = this.known.size > ACCOUNTS_MAX ? this.known.keys() : [];
    if (oldest !== undefined) this.known.delete(oldest);
  }
}

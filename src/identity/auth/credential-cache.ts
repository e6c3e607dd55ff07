import type { MonotonicClock } from '../../platform/common/clock.js';
import type { Credential, Credentials } from './credentials.js';
import { CredentialLookups, type Lookup, type LookupLane } from './credential-lookups.js';

/**
 * Every process refuses a revoked key within a second. So what this process knows of a good key is valid for less than that,
 * counted from before the database was asked; the rest of the second is for timers, scheduling and the answer's transfer.
 */
const GOOD_FOR_MS = 900;
/** From here on, a key in use is read again in the background, so that no request with it has to wait. */
const REFRESH_AFTER_MS = 450;
/**
 * A bad key never becomes a good one: a revocation is final, and no caller can send the secret of a key
 * before it was made. The time limit is for a database that was restored or corrected by hand.
 */
const BAD_FOR_MS = 5_000;
/** Each takes a few hundred bytes. Beyond this, the key that was looked up longest ago is removed. */
const GOOD_KEYS_MAX = 20_000;
/** They are kept apart from the good ones, so that a flood of bad keys removes only bad keys. */
const BAD_KEYS_MAX = 10_000;

type Entry = { readonly credential: Credential | null; readonly askedAtMs: number };

/** What this process knows of API keys, by the SHA-256 of their secret. The secrets themselves are not kept. */
export class CredentialCache {
  private readonly good = new Map<string, Entry>();
  private readonly bad = new Map<string, Entry>();
  /** The look-up whose answer will be kept, by hash; other requests for the same key wait for it. */
  private readonly pending = new Map<string, Lookup>();
  private readonly lookups: CredentialLookups;

  constructor(
    credentials: Credentials,
    private readonly clock: MonotonicClock,
    lookupTimeoutMs?: number,
    hedgeAfterMs?: number,
  ) {
    this.lookups = new CredentialLookups(credentials, clock, lookupTimeoutMs, hedgeAfterMs);
  }

  /** Returns null when it is known not to be a key, and undefined when that is unknown or outdated; `find` then asks the database. */
  peek(hash: string): Credential | null | undefined {
    const nowMs = this.clock.monotonicMs();
    const good = this.good.get(hash);
    if (good !== undefined) {
      const ageMs = nowMs - good.askedAtMs;
      if (ageMs >= GOOD_FOR_MS) return undefined;
      if (ageMs >= REFRESH_AFTER_MS && !this.pending.has(hash)) this.refresh(hash);
      return good.credential;
    }
    const bad = this.bad.get(hash);
    return bad !== undefined && nowMs - bad.askedAtMs < BAD_FOR_MS ? bad.credential : undefined;
  }

  /**
   * Returns null when there is no such key. The answer is never older than the cache allows, even when it takes long to arrive:
   * a look-up that was started too long before this call is not shared. Throws `DatabaseUnavailableError`.
   */
  find(hash: string, lane: LookupLane = 'ordinary'): Promise<Credential | null> {
    const pending = this.pending.get(hash);
    const joinable = pending !== undefined && this.clock.monotonicMs() - pending.startedAtMs < GOOD_FOR_MS;
    return joinable ? pending.answer : this.lookUp(hash, lane);
  }

  /** Returns true when this process has accepted the key before, even if its entry has expired. */
  hasSeenGood(hash: string): boolean {
    return this.good.has(hash);
  }

  /** Call after the revocation is committed: this process refuses the key from then on. */
  forget(hash: string): void {
    // A look-up that is running may have read the row before it was revoked, so its answer is not kept.
    this.pending.delete(hash);
    this.good.delete(hash);
    this.bad.delete(hash);
  }

  private refresh(hash: string): void {
    // A caller that needs the answer meets the same failure in `find` and reports it.
    this.lookUp(hash, 'ordinary').catch(() => undefined);
  }

  private async lookUp(hash: string, lane: LookupLane): Promise<Credential | null> {
    const lookup = this.lookups.start(hash, lane);
    this.pending.set(hash, lookup);
    try {
      const credential = await lookup.answer;
      if (this.pending.get(hash) === lookup) this.keep(hash, credential, lookup.startedAtMs);
      return credential;
    } finally {
      if (this.pending.get(hash) === lookup) this.pending.delete(hash);
    }
  }

  private keep(hash: string, credential: Credential | null, askedAtMs: number): void {
    this.good.delete(hash);
    this.bad.delete(hash);
    const isGood = credential !== null && !credential.revoked;
    const [entries, max] = isGood ? [this.good, GOOD_KEYS_MAX] : [this.bad, BAD_KEYS_MAX];
    entries.set(hash, { credential, askedAtMs });
    // A map keeps the order in which entries were set: the first one was looked up longest ago.
    const [oldest] = entries.size > max ? entries.keys() : [];
    if (oldest !== undefined) entries.delete(oldest);
  }
}

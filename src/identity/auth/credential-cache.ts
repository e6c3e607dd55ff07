import type { MonotonicClock } from '../../platform/common/clock.js';
import type { Credential, Credentials } from './credentials.js';
import { CredentialLookups, type Lookup, type LookupLane } from './credential-lookups.js';

/**
 * A revoked key is refused by every process within a second. So what this process knows of a good key is
 * good for less than that, counted from before the database was asked; the rest of the second is for timers,
 * scheduling and the way back.
 */
const GOOD_FOR_MS = 900;
/** A key in use is asked for again in the background from here on, so that no request of it has to wait. */
const REFRESH_AFTER_MS = 450;
/**
 * What is not a good key never becomes one: a revocation is final, and nobody can send the secret of a key
 * before it was made. The bound is for a database that was restored or corrected by hand.
 */
const BAD_FOR_MS = 5_000;
/** A few hundred bytes each. Beyond it, the key that was looked up longest ago is asked for again. */
const GOOD_KEYS_MAX = 20_000;
/** Kept apart from the good ones, so that a flood of bad keys pushes out only bad keys. */
const BAD_KEYS_MAX = 10_000;

type Entry = { readonly credential: Credential | null; readonly askedAtMs: number };

/** What this process knows of API keys, by the SHA-256 of their secret. Secrets themselves are not kept. */
export class CredentialCache {
  private readonly good = new Map<string, Entry>();
  private readonly bad = new Map<string, Entry>();
  /** The look-up whose answer will be kept, by hash: whoever needs it meanwhile waits for the same one. */
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

  /** Null: known not to be a key. Undefined: not known, or too long ago; `find` asks. */
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
   * Null: no such key. The answer is never older than the cache allows, however long it takes to arrive:
   * a look-up that was started too long before this call is not joined. Throws `DatabaseUnavailableError`.
   */
  find(hash: string, lane: LookupLane = 'ordinary'): Promise<Credential | null> {
    const pending = this.pending.get(hash);
    const joinable = pending !== undefined && this.clock.monotonicMs() - pending.startedAtMs < GOOD_FOR_MS;
    return joinable ? pending.answer : this.lookUp(hash, lane);
  }

  /** True when this process has seen the key work, even if what it knows has lapsed. */
  hasSeenGood(hash: string): boolean {
    return this.good.has(hash);
  }

  /** Call after the revocation is committed: this process refuses the key from then on. */
  forget(hash: string): void {
    // A look-up that is under way may have read the row before it was revoked: its answer is not kept.
    this.pending.delete(hash);
    this.good.delete(hash);
    this.bad.delete(hash);
  }

  private refresh(hash: string): void {
    // Whoever needs the answer meets the same failure in `find` and reports it.
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
    // A map keeps the order in which entries were set: the first one was asked for longest ago.
    const [oldest] = entries.size > max ? entries.keys() : [];
    if (oldest !== undefined) entries.delete(oldest);
  }
}

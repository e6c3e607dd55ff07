import type { MonotonicClock } from '../../platform/common/clock.js';
import { hedgedRead } from '../../platform/common/hedged-read.js';
import { withTimeout } from '../../platform/common/time-limits.js';
import { DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import type { SealedProviderKey } from './provider-key.js';

/** How long it is believed that an account has no key, counted from before the database was asked. */
const GOOD_FOR_MS = 900;
/** An account that calls is asked for again in the background from here on, so that no call has to wait. */
const REFRESH_AFTER_MS = 450;
/** About a hundred bytes each. Beyond it, the account that was looked up longest ago is asked for again. */
const ACCOUNTS_MAX = 20_000;
/** One index probe each. */
const BATCH_MAX = 500;
/** As many as may wait for API keys; beyond it a call is refused. */
const WAITING_MAX = 20_000;
const LOOKUP_TIMEOUT_MS = 5_000;

/** The live keys of one account; almost always none. */
export type LiveKeys = readonly SealedProviderKey[];

export type LoadLiveKeys = (accountIds: readonly string[]) => Promise<readonly SealedProviderKey[]>;

const NONE: LiveKeys = [];

class Lookup {
  /** Infinity while it waits its turn. */
  startedAtMs = Infinity;
  readonly answer: Promise<LiveKeys>;
  resolve!: (keys: LiveKeys) => void;
  reject!: (problem: DatabaseUnavailableError) => void;

  constructor(readonly accountId: string) {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/**
 * What this process knows of the provider keys of the accounts that call. It spares most calls a query and decides none:
 * that an account has no key is checked again by the commit that would charge for the call, and a key is used only if it
 * was read after the call began. While one query runs, the accounts of the next one gather: however many call at once,
 * it holds one database connection, and a second one while the first is silent.
 */
export class ProviderKeyCache {
  /** The accounts that had no key, and when the database was asked. */
  private readonly without = new Map<string, number>();
  /** The look-up whose answer will be kept: whoever needs it meanwhile waits for the same one. */
  private readonly pending = new Map<string, Lookup>();
  private waiting: Lookup[] = [];
  private isAsking = false;

  constructor(
    private readonly load: LoadLiveKeys,
    private readonly clock: MonotonicClock,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
  ) {}

  /**
   * Keys that are answered were read after this was asked; that there are none may be known from before. Throws
   * `DatabaseUnavailableError`: without an answer nobody knows who pays, so nobody does.
   */
  async find(accountId: string): Promise<LiveKeys> {
    if (this.hadNone(accountId)) return NONE;
    const pending = this.pending.get(accountId);
    const startedAtMs = pending?.startedAtMs ?? Infinity;
    const isUnderWay = startedAtMs !== Infinity && this.clock.monotonicMs() - startedAtMs < GOOD_FOR_MS;
    if (isUnderWay && (await pending?.answer)?.length === 0) return NONE;
    // One that is not under way yet reads what is there now.
    const next = this.pending.get(accountId);
    return next?.startedAtMs === Infinity ? next.answer : this.lookUp(accountId);
  }

  /** Call when a key was attached: that there was none is not believed any more. */
  forget(accountId: string): void {
    // A look-up that is under way may have read what was there before: its answer is not kept.
    this.pending.delete(accountId);
    this.without.delete(accountId);
  }

  private hadNone(accountId: string): boolean {
    const ageMs = this.clock.monotonicMs() - (this.without.get(accountId) ?? -Infinity);
    if (ageMs >= GOOD_FOR_MS) return false;
    const isRenewed = ageMs < REFRESH_AFTER_MS || this.pending.has(accountId);
    // Whoever needs the answer meets the same failure and reports it.
    if (!isRenewed) this.lookUp(accountId).catch(() => undefined);
    return true;
  }

  private async lookUp(accountId: string): Promise<LiveKeys> {
    const lookup = new Lookup(accountId);
    if (this.waiting.length >= WAITING_MAX) {
      throw new DatabaseUnavailableError(new Error('too many accounts are waiting to be looked up'));
    }
    this.pending.set(accountId, lookup);
    this.waiting.push(lookup);
    if (!this.isAsking) void this.drain();
    try {
      const keys = await lookup.answer;
      if (this.pending.get(accountId) === lookup) this.keep(accountId, keys, lookup.startedAtMs);
      return keys;
    } finally {
      if (this.pending.get(accountId) === lookup) this.pending.delete(accountId);
    }
  }

  private async drain(): Promise<void> {
    this.isAsking = true;
    while (this.waiting.length > 0) await this.ask(this.waiting.splice(0, BATCH_MAX));
    this.isAsking = false;
  }

  private async ask(batch: readonly Lookup[]): Promise<void> {
    const startedAtMs = this.clock.monotonicMs();
    for (const lookup of batch) lookup.startedAtMs = startedAtMs;
    try {
      const accountIds = batch.map(({ accountId }) => accountId);
      const found = await withTimeout(
        hedgedRead(() => this.load(accountIds)),
        this.timeoutMs,
      );
      for (const { accountId, resolve } of batch) {
        resolve(found.filter((key) => key.accountId === accountId));
      }
    } catch (error) {
      for (const { reject } of batch) reject(new DatabaseUnavailableError(error));
    }
  }

  private keep(accountId: string, keys: LiveKeys, askedAtMs: number): void {
    this.without.delete(accountId);
    if (keys.length > 0) return;
    this.without.set(accountId, askedAtMs);
    // A map keeps the order in which entries were set: the first one was asked for longest ago.
    const [oldest] = this.without.size > ACCOUNTS_MAX ? this.without.keys() : [];
    if (oldest !== undefined) this.without.delete(oldest);
  }
}

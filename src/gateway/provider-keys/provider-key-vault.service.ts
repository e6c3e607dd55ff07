import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Repository } from 'typeorm';
import { CLOCK, type MonotonicClock, hedgedRead, withTimeout } from '../../platform/common/clock.js';
import { SealBrokenError } from '../../platform/common/sealed-box.js';
import { ResourceMissingError, DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import { EnvelopeService } from './encryption/envelope.service.js';
import { type KeyedProvider, toBinding, type ProviderKey, type SealedProviderKey } from './provider-key.js';
import { ProviderKeyEntity } from './provider-key.entity.js';
import { ProviderKeyUnreadableError } from './provider-key.errors.js';

/**
 * Finds and decrypts customers' provider keys for BYOK calls. Between calls it only keeps encrypted keys; a decrypted key exists only
 * for the call that needs it.
 */
@Injectable()
export class ProviderKeyVaultService {
  private readonly logger = new Logger(ProviderKeyVaultService.name);
  private readonly cache: ProviderKeyCache;

  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    private readonly envelope: EnvelopeService,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.cache = new ProviderKeyCache(async (accountIds) => {
      const found = await this.rows.findBy({ accountId: In([...accountIds]), removedAt: IsNull() });
      return found.flatMap((row) => toSealed(row) ?? []);
    }, clock);
  }

  /**
   * Returns the account's live keys. A returned key was live after the call began. An empty answer may be a second old, so the commit
   * that charges the wallet has to check it again (`unlessOwnKeyAt`). Throws `DatabaseUnavailableError`.
   */
  findLive(accountId: string): Promise<readonly SealedProviderKey[]> {
    return this.cache.find(accountId);
  }

  /** Reads the live key from the database. Throws `ResourceMissingError` when there is none. */
  async requireLive(accountId: string, provider: KeyedProvider): Promise<SealedProviderKey> {
    const row = await this.rows.findOneBy({ accountId, provider, removedAt: IsNull() });
    const key = row === null ? null : toSealed(row);
    if (key === null) throw new ResourceMissingError('provider key', provider, 'provider');
    return key;
  }

  /**
   * Returns a key by its id for a call that began with it. A removed key is returned as well until it is erased; then the result is
   * null. Throws what the database throws.
   */
  async findForRunningCall(accountId: string, id: string): Promise<SealedProviderKey | null> {
    const row = await this.rows.findOneBy({ accountId, id });
    return row === null ? null : toSealed(row);
  }

  /** Decrypts the key. Throws `ProviderKeyUnreadableError` (503); the log says why. */
  async open(key: SealedProviderKey): Promise<string> {
    try {
      const secret = await this.envelope.open(key.sealed, toBinding(key));
      return secret.toString();
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
      const fields = { account: key.accountId, key: key.id, masterKey: key.sealed.masterKeyId, err: error };
      this.logger.error(
        { event: 'provider_key.unreadable', ...fields },
        'A provider key cannot be decrypted',
      );
      throw new ProviderKeyUnreadableError(key.provider, error);
    }
  }

  /** Must be called when a key was attached, in this process or another one. */
  forget({ accountId }: Pick<ProviderKey, 'accountId'>): void {
    this.cache.forget(accountId);
  }
}

export function toSealed(row: ProviderKeyEntity): SealedProviderKey | null {
  const { accountId, id, provider, fallBackToWallet, ciphertext, wrappedKey, masterKeyId } = row;
  if (ciphertext === null || wrappedKey === null || masterKeyId === null) return null;
  return { accountId, id, provider, fallBackToWallet, sealed: { ciphertext, wrappedKey, masterKeyId } };
}

/** How long the cache keeps that an account has no key, counted from before the query. */
const GOOD_FOR_MS = 900;
/** After this a call starts a new look-up in the background, so that no call has to wait for one. */
const REFRESH_AFTER_MS = 450;
/** An entry has about a hundred bytes. Beyond this limit the oldest entry is removed and looked up again when needed. */
const ACCOUNTS_MAX = 20_000;
/** The accounts of one query, each of which needs one index probe. */
const BATCH_MAX = 500;
/** As many as may wait for API keys. Beyond this a call is refused. */
const WAITING_MAX = 20_000;
const LOOKUP_TIMEOUT_MS = 5_000;

/** The live keys of one account, which almost always has none. */
export type LiveKeys = readonly SealedProviderKey[];

export type LoadLiveKeys = (accountIds: readonly string[]) => Promise<readonly SealedProviderKey[]>;

const NONE: LiveKeys = [];

class Lookup {
  /** Infinity until the query has been sent. */
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
 * Caches which calling accounts have no provider key. It saves most calls a query, but is never the last word: the commit that would
 * charge for a call checks again that the account has no key, and a key is used only if it was read after the call began. While one
 * query runs, the accounts of the next one are collected, so that any number of calls uses one database connection, and a second one
 * when the first does not respond.
 */
export class ProviderKeyCache {
  /** The accounts that had no key, with the time of the query. */
  private readonly without = new Map<string, number>();
  /** The current look-up of each account, which concurrent calls share. Only its answer is kept. */
  private readonly pending = new Map<string, Lookup>();
  private waiting: Lookup[] = [];
  private isAsking = false;

  constructor(
    private readonly load: LoadLiveKeys,
    private readonly clock: MonotonicClock,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
  ) {}

  /**
   * Returned keys were read after this call. That there are none may be known from earlier. Throws `DatabaseUnavailableError`: without
   * an answer it is not known who pays, so the call is refused.
   */
  async find(accountId: string): Promise<LiveKeys> {
    if (this.hadNone(accountId)) return NONE;
    const pending = this.pending.get(accountId);
    const startedAtMs = pending?.startedAtMs ?? Infinity;
    const isUnderWay = startedAtMs !== Infinity && this.clock.monotonicMs() - startedAtMs < GOOD_FOR_MS;
    if (isUnderWay && (await pending?.answer)?.length === 0) return NONE;
    // A look-up that has not been sent yet reads the current state.
    const next = this.pending.get(accountId);
    return next?.startedAtMs === Infinity ? next.answer : this.lookUp(accountId);
  }

  /** Must be called when a key was attached, so that the account is looked up again. */
  forget(accountId: string): void {
    // A look-up that is running may have read the earlier state, so its answer is not kept.
    this.pending.delete(accountId);
    this.without.delete(accountId);
  }

  private hadNone(accountId: string): boolean {
    const ageMs = this.clock.monotonicMs() - (this.without.get(accountId) ?? -Infinity);
    if (ageMs >= GOOD_FOR_MS) return false;
    const isRenewed = ageMs < REFRESH_AFTER_MS || this.pending.has(accountId);
    // A failure is not reported here: the next call that needs the answer has the same failure and reports it.
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
    // A map keeps the order in which entries were set, so the first one is the oldest.
    const [oldest] = this.without.size > ACCOUNTS_MAX ? this.without.keys() : [];
    if (oldest !== undefined) this.without.delete(oldest);
  }
}

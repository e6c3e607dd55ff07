import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type MonotonicClock, hedgedRead, withTimeout } from '../../platform/common/clock.js';
import { DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import type { Principal, AccountScope, OperatorScope } from './principal.js';

/** An API key as it is stored, in any state. */
export type Credential = {
  readonly principal: Principal;
  /** Unix milliseconds; null means that it never expires. */
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
};

export const CREDENTIALS = Symbol('CREDENTIALS');

/** Port for the storage of API keys. `api-keys/` implements it, which is above this module. */
export interface Credentials {
  /**
   * Returns the credentials for these SHA-256 hashes (hexadecimal), by hash; unknown ones are missing. The answer
   * must show every revocation that was committed before the call.
   */
  findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>>;
}

/**
 * The format of an API key: `sk-cof-` (account) or `op-cof-` (operator), 256 random bits as 43 base62 digits,
 * and a CRC-32 of all that as 6 base62 digits.
 *
 * The prefix and the checksum are for programs that search for leaked secrets: they recognise a key without
 * a request to Coffer, and a mistyped key is refused without a query. The checksum protects nothing; anyone
 * can compute it. Base62 keeps a key in one piece when it is double-clicked, or pasted into a shell or a URL.
 */
const PREFIXES = { account_key: 'sk-cof-', operator_key: 'op-cof-' } as const satisfies Record<
  Principal['kind'],
  string
>;

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BASE = 62n;
const SECRET_BYTES = 32;
/** 62^43 is just above 2^256. */
const SECRET_DIGITS = 43;
/** 62^6 is above 2^32. */
const CHECKSUM_DIGITS = 6;
const HINT_DIGITS = 4;

export const API_KEY_PATTERN = new RegExp(
  `^(sk|op)-cof-[0-9A-Za-z]{${SECRET_DIGITS}}[0-9A-Za-z]{${CHECKSUM_DIGITS}}$`,
);

/**
 * Makes a new key. The caller returns it once and keeps only its hash.
 *
 * @param entropy 32 random bytes; only tests pass their own.
 */
export function makeApiKey(kind: Principal['kind'], entropy: Uint8Array = randomBytes(SECRET_BYTES)): string {
  if (entropy.length !== SECRET_BYTES) throw new RangeError(`an API key needs ${SECRET_BYTES} random bytes`);
  const body = PREFIXES[kind] + toBase62(BigInt(`0x${Buffer.from(entropy).toString('hex')}`), SECRET_DIGITS);
  return body + computeChecksum(body);
}

/** Returns the kind of key, or null when it cannot be a key: wrong prefix, length, alphabet or checksum. */
export function parseApiKey(text: string): Principal['kind'] | null {
  if (!API_KEY_PATTERN.test(text)) return null;
  const body = text.slice(0, -CHECKSUM_DIGITS);
  if (computeChecksum(body) !== text.slice(-CHECKSUM_DIGITS)) return null;
  return text.startsWith(PREFIXES.account_key) ? 'account_key' : 'operator_key';
}

/**
 * SHA-256 in hexadecimal is all that is ever stored of a key. A slow hash would protect a guessable password;
 * 256 random bits need none, and every request pays for this one.
 */
export function hashApiKey(text: string): string {
  return hash('sha256', text, 'hex');
}

/** Returns the part of a key that may be shown again. The last four digits belong to the checksum and reveal nothing. */
export function apiKeyHint(text: string): string {
  return `${text.slice(0, PREFIXES.account_key.length)}…${text.slice(-HINT_DIGITS)}`;
}

function computeChecksum(body: string): string {
  return toBase62(BigInt(crc32(body)), CHECKSUM_DIGITS);
}

function toBase62(value: bigint, length: number): string {
  let digits = '';
  for (let rest = value; rest > 0n; rest /= BASE) digits = DIGITS.charAt(Number(rest % BASE)) + digits;
  return digits.padStart(length, DIGITS.charAt(0));
}

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

type Row = {
  readonly id: string;
  readonly account_id: string | null;
  readonly secret_hash: Buffer;
  readonly scopes: readonly string[];
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly duplicate_window_seconds: number;
};

/** One statement serves any number of hashes, so that the server always plans it the same way. */
const FIND = `
  SELECT id, account_id, secret_hash, scopes, expires_at, revoked_at, duplicate_window_seconds
    FROM api_keys WHERE secret_hash = ANY($1::bytea[])`;

@Injectable()
export class ApiKeyCredentials implements Credentials {
  constructor(private readonly dataSource: DataSource) {}

  async findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>> {
    const rows = await this.dataSource.query<Row[]>(FIND, [hashes.map((hash) => Buffer.from(hash, 'hex'))]);
    return new Map(rows.map((row) => [row.secret_hash.toString('hex'), toCredential(row)]));
  }
}

function toCredential(row: Row): Credential {
  return {
    principal: toPrincipal(row),
    expiresAtMs: row.expires_at?.getTime() ?? null,
    revoked: row.revoked_at !== null,
  };
}

/** The constraint api_keys_scopes_of_kind keeps the scopes of the two kinds apart. */
function toPrincipal({ id: keyId, account_id: accountId, scopes, duplicate_window_seconds }: Row): Principal {
  if (accountId === null) {
    return { kind: 'operator_key', keyId, scopes: new Set(scopes as readonly OperatorScope[]) };
  }
  return {
    kind: 'account_key',
    keyId,
    accountId,
    scopes: new Set(scopes as readonly AccountScope[]),
    duplicateWindowSeconds: duplicate_window_seconds,
  };
}

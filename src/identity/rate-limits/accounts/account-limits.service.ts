import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { AccountsService } from '../../accounts/accounts.service.js';
import type { AuditDetails } from '../../audit-log/audit-event.js';
import { AuditLog } from '../../audit-log/audit-log.service.js';
import { type OperatorPrincipal, toActor } from '../../auth/principal.js';
import {
  CLOCK,
  type Clock,
  type MonotonicClock,
  answerWithin,
  hedgedRead,
} from '../../../platform/common/clock.js';
import { isUniqueViolation } from '../../../platform/database/constraints.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../../platform/database/transaction-runner.js';
import type { AccountLimits, OwnLimits } from '../rate-limit-policies.js';
import { AccountLimitsEntity } from './account-limits.entity.js';

/** Null means the default number. */
export type AccountLimitNumbers = Pick<
  AccountLimitsEntity,
  'requestsPerMinute' | 'imagesPerMinute' | 'concurrentRequests'
>;

/** Null means that they were never changed. */
export type AccountLimitsInForce = AccountLimitsEntity | null;

/** Concurrent operators each make a change of their own, in the order in which they come. */
const ATTEMPTS_MAX = 5;

/** It costs one index probe for each account, for a history of any length. */
const LATEST = `
  SELECT l.account_id, l.requests_per_minute, l.images_per_minute, l.concurrent_requests
    FROM unnest($1::text[]) AS asked (account_id)
   CROSS JOIN LATERAL (
     SELECT * FROM account_limits WHERE account_id = asked.account_id ORDER BY version DESC LIMIT 1) AS l`;

type LatestRow = {
  readonly account_id: string;
  readonly requests_per_minute: number | null;
  readonly images_per_minute: number | null;
  readonly concurrent_requests: number | null;
};

/** Limits of single accounts: stored as a list of changes, applied within two seconds in every process. */
@Injectable()
export class AccountLimitsService implements AccountLimits {
  private readonly cache: AccountLimitsCache;

  constructor(
    @InjectRepository(AccountLimitsEntity) private readonly changes: Repository<AccountLimitsEntity>,
    private readonly accounts: AccountsService,
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(CLOCK) monotonicClock: MonotonicClock,
  ) {
    this.cache = new AccountLimitsCache((accountIds) => this.load(accountIds), monotonicClock);
  }

  find(accountId: string): OwnLimits | Promise<OwnLimits> {
    return this.cache.find(accountId);
  }

  /** Throws `ResourceMissingError`. */
  async read(accountId: string): Promise<AccountLimitsInForce> {
    await this.accounts.require(accountId);
    return this.latest(accountId);
  }

  /** Sets all numbers at once: null is the default from now on. Throws `ResourceMissingError`. */
  async set(
    accountId: string,
    numbers: AccountLimitNumbers,
    reason: string,
    operator: OperatorPrincipal,
  ): Promise<AccountLimitsInForce> {
    await this.accounts.require(accountId);
    for (let attempt = 1; ; attempt += 1) {
      const before = await this.latest(accountId);
      const change: AccountLimitsEntity = {
        ...numbers,
        accountId,
        version: (before?.version ?? 0) + 1,
        reason,
        setBy: toActor(operator),
        createdAt: new Date(this.clock.nowMs()),
      };
      try {
        await this.transactions.run(async (tx) => {
          await tx.insert(AccountLimitsEntity, change);
          await this.audit.record(tx, operator, {
            act: 'account.limits_changed',
            object: accountId,
            account: accountId,
            before: before === null ? null : toDetails(before),
            after: toDetails(change),
            reason,
          });
        }, operator);
        this.cache.forget(accountId);
        return change;
      } catch (error) {
        if (!isUniqueViolation(error, 'account_limits_pkey') || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  private latest(accountId: string): Promise<AccountLimitsEntity | null> {
    return this.changes.findOne({ where: { accountId }, order: { version: 'DESC' } });
  }

  private async load(accountIds: readonly string[]): Promise<Map<string, NonNullable<OwnLimits>>> {
    const rows = await this.dataSource.query<LatestRow[]>(LATEST, [accountIds]);
    return new Map(rows.map((row) => [row.account_id, toOwnLimits(row)]));
  }
}

function toOwnLimits({
  requests_per_minute: calls,
  images_per_minute: images,
  concurrent_requests: concurrent,
}: LatestRow): NonNullable<OwnLimits> {
  return {
    ...(calls === null ? {} : { image_calls: calls }),
    ...(images === null ? {} : { images }),
    ...(concurrent === null ? {} : { concurrent_image_calls: concurrent }),
  };
}

function toDetails(limits: AccountLimitNumbers): AuditDetails {
  return {
    requests_per_minute: limits.requestsPerMinute,
    images_per_minute: limits.imagesPerMinute,
    concurrent_requests: limits.concurrentRequests,
  };
}

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

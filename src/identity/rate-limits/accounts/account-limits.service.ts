import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { AccountsService } from '../../accounts/accounts.service.js';
import type { AuditDetails } from '../../audit-log/audit-event.js';
import { AuditLog } from '../../audit-log/audit-log.service.js';
import { toActor, type OperatorPrincipal } from '../../auth/principal.js';
import { CLOCK, type Clock, type MonotonicClock } from '../../../platform/common/clock.js';
import { isUniqueViolation } from '../../../platform/database/constraints.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../../platform/database/transaction-runner.js';
import type { AccountLimits, OwnLimits } from '../account-limits.js';
import { AccountLimitsCache } from './account-limits-cache.js';
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

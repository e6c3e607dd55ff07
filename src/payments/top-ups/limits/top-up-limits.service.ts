import { Inject, Injectable } from '@nestjs/common';
import { add, centsToMicros } from '../../../platform/common/money.js';
import { DAY_MS } from '../../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { DatabaseClock } from '../../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../../platform/database/transaction-runner.js';
import type { TopUp } from '../top-up.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
  type FullCount,
  type LimitScope,
} from '../top-up.errors.js';
import { TopUpLimitsRepository, type LimitCounts } from './top-up-limits.repository.js';

/**
 * Limits how much an account, or a network address, may try to buy. The attempts are counted in the database under a
 * lock of each, so the limits hold across processes, concurrent requests and restarts.
 */
@Injectable()
export class TopUpLimitsService {
  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'topUpLimits'>,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly repository: TopUpLimitsRepository,
  ) {}

  /**
   * Stores the top-up with `insert` if the limits allow it; both happen in one tx. Throws
   * `TooManyFailedPaymentsError`, `TooManyTopUpsError` or `FirstTopUpLimitError`, and what `insert` throws; then
   * nothing is stored.
   */
  async admit(topUp: TopUp, insert: (tx: Tx) => Promise<void>): Promise<void> {
    await this.transactions.run(
      async (tx) => {
        await this.lock(tx, topUp);
        // The row is written first, because a repeated idempotency key has to be found before a limit refuses it.
        await insert(tx);
        await this.assertAllowed(tx, topUp);
      },
      { kind: 'account_key', accountId: topUp.accountId },
    );
  }

  /** Makes the attempts of an account, and of a network address, wait for each other until the tx ends. */
  lock(tx: Tx, owner: Pick<TopUp, 'accountId' | 'clientAddress'>): Promise<void> {
    return this.repository.lock(tx, owner);
  }

  /** Throws when a limit refuses the top-up that this tx has stored. The caller called `lock` before. */
  async assertAllowed(tx: Tx, topUp: TopUp): Promise<void> {
    await this.assertCounts(tx, topUp);
    await this.assertFirstTopUps(tx, topUp);
  }

  /** Whether the address or the account has reached its refused payments of a day; null when neither has. */
  async findFailureLimitReached(topUp: TopUp): Promise<LimitScope | null> {
    const counts = await this.count(null, topUp);
    if (counts.failures_address !== null) return 'address';
    return counts.failures_account === null ? null : 'account';
  }

  private async assertCounts(tx: Tx, topUp: TopUp): Promise<void> {
    const { topUpLimits: max } = this.settings;
    const counts = await this.count(tx, topUp);
    const failures =
      this.full('account', max.failuresPerAccount, counts.failures_account, counts.nowMs) ??
      this.full('address', max.failuresPerAddress, counts.failures_address, counts.nowMs);
    if (failures !== null) throw new TooManyFailedPaymentsError(failures);
    const pages =
      this.full('account', max.perAccount, counts.pages_account, counts.nowMs) ??
      this.full('address', max.perAddress, counts.pages_address, counts.nowMs);
    if (pages !== null) throw new TooManyTopUpsError(pages);
  }

  private async count(tx: Tx | null, topUp: TopUp): Promise<LimitCounts & { readonly nowMs: number }> {
    const nowMs = await this.clock.nowMs(tx ?? undefined);
    return { ...(await this.repository.count(tx, topUp, this.settings.topUpLimits, nowMs)), nowMs };
  }

  private full(scope: LimitScope, max: number, at: Date | null, nowMs: number): FullCount | null {
    if (at === null) return null;
    return { scope, max, retryAt: new Date(at.getTime() + DAY_MS), now: new Date(nowMs) };
  }

  private async assertFirstTopUps(tx: Tx, topUp: TopUp): Promise<void> {
    const { firstMaxCents, firstMaxCount } = this.settings.topUpLimits;
    const dayAgo = new Date((await this.clock.nowMs(tx)) - DAY_MS);
    if (await this.repository.isEstablished(tx, topUp, dayAgo)) return;
    const used = await this.repository.countFirstTopUps(tx, topUp);
    const wantedMicros = add(used.creditMicros, topUp.creditMicros);
    if (used.count < firstMaxCount && wantedMicros <= centsToMicros(firstMaxCents)) return;
    throw new FirstTopUpLimitError(used, { firstMaxCents, firstMaxCount });
  }
}

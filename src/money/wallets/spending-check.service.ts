import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { micros, ZERO, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { readRows } from '../../platform/database/data-source.js';
import type { Problem } from '../../platform/errors/problem.js';
import { atTime, reachedLimit } from './rules/key-budget.js';
import type { Balances, WalletStatus } from './rules/wallet.js';
import { BUDGET_COLUMNS, toBudget, type BudgetRow } from './store/load-budgets.js';
import { InsufficientCreditsError, KeyLimitReachedError, WalletFrozenError } from './wallet.errors.js';

type WalletRow = { status: WalletStatus; posted: string; held: string; floor: string };
type Row = WalletRow & (BudgetRow | { budget_key_id: null });

const READ = `
  SELECT w.status, w.posted_micros AS posted, w.held_micros AS held, w.floor_micros AS floor, ${BUDGET_COLUMNS}
    FROM wallets w LEFT JOIN key_budgets b ON b.account_id = w.account_id AND b.key_id = $2
   WHERE w.account_id = $1`;

const NOTHING: Balances = { postedMicros: ZERO, heldMicros: ZERO, availableMicros: ZERO };

/**
 * Whether a key could spend an amount, read without a lock. It spares the work for a call that its hold would refuse, and
 * decides nothing: credit that it finds may be gone when the hold is made, and only the hold counts.
 */
@Injectable()
export class SpendingCheckService {
  constructor(
    private readonly dataSource: DataSource,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Why not, as the hold would say it, in the order of `refuseSpending`; null when it could. Throws what the database throws. */
  async findObstacle(accountId: string, keyId: string, amountMicros: MicroUsd): Promise<Problem | null> {
    const [row] = await readRows<Row>(this.dataSource, READ, [accountId, keyId]);
    if (row === undefined)
      return amountMicros > 0n ? new InsufficientCreditsError(amountMicros, NOTHING) : null;
    const balances = toBalances(row);
    const budget = row.budget_key_id === null ? null : atTime(toBudget(row), this.clock.nowMs());
    const reached = budget && reachedLimit(budget, amountMicros);
    if (reached !== null) return new KeyLimitReachedError(reached, amountMicros, balances);
    if (row.status === 'frozen') return new WalletFrozenError(amountMicros, balances);
    const spendableMicros = balances.availableMicros - BigInt(row.floor);
    return spendableMicros < amountMicros ? new InsufficientCreditsError(amountMicros, balances) : null;
  }
}

function toBalances({ posted, held }: WalletRow): Balances {
  const [postedMicros, heldMicros] = [micros(BigInt(posted)), micros(BigInt(held))];
  return { postedMicros, heldMicros, availableMicros: micros(postedMicros - heldMicros) };
}

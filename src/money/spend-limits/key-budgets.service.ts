import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import {
  actorName,
  newAuditEvent,
  type AuditActor,
  type AuditDetails,
} from '../../identity/audit-log/audit-event.js';
import type { Clock } from '../../platform/common/clock.js';
import { formatMicros, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { readRows } from '../../platform/database/data-source.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import {
  type CountedUse,
  NO_LIMITS,
  type KeyBudget,
  type KeyBudgets,
  type SpendLimits,
} from '../../identity/api-keys/key-budget.js';
import { atTime, isLimited } from '../wallets/rules/key-budget.js';
import { BUDGET_COLUMNS, countUse, toBudget, type BudgetRow } from '../wallets/store/load-budgets.js';
import { WalletEngine } from '../wallets/wallet-engine.js';

const FIND = `SELECT ${BUDGET_COLUMNS} FROM key_budgets b WHERE b.account_id = $1 AND b.key_id = ANY($2::text[])`;

/** Reads what the API keys of an account may spend, and how much of it they have used. */
@Injectable()
export class KeyBudgetsService implements KeyBudgets {
  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async find(accountId: string, keyIds: readonly string[]): Promise<ReadonlyMap<string, KeyBudget>> {
    if (keyIds.length === 0) return new Map();
    const rows = await readRows<BudgetRow>(this.dataSource, FIND, [accountId, keyIds]);
    const nowMs = this.clock.nowMs();
    return new Map(rows.map((row) => [row.budget_key_id, atTime(toBudget(row), nowMs)]));
  }

  async findLimits(tx: Tx, accountId: string, keyId: string): Promise<SpendLimits> {
    const [row] = await tx.query<BudgetRow[]>(FIND, [accountId, [keyId]]);
    return row === undefined ? NO_LIMITS : toBudget(row).limits;
  }

  count(accountId: string, keyId: string): Promise<CountedUse | null> {
    return countUse(this.dataSource, accountId, keyId);
  }

  async set(
    accountId: string,
    keyId: string,
    limits: Partial<SpendLimits>,
    by: AuditActor,
    counted?: CountedUse | null,
    before: SpendLimits = NO_LIMITS,
  ): Promise<KeyBudget | null> {
    const use = counted === undefined ? await this.count(accountId, keyId) : counted;
    const audit = newAuditEvent(by, {
      act: 'api_key.limits_changed',
      object: keyId,
      account: accountId,
      before: toDetails(before),
      after: toDetails({ ...before, ...limits }),
    });
    const request = { accountId, actor: actorName(by), audit, keyId, limits, counted: use };
    const outcome = await this.engine.execute({ type: 'setKeyBudget', ...request });
    if (outcome.type !== 'key_budget') throw new Error(`expected a key's budget, not ${outcome.type}`);
    return isLimited(outcome.budget) ? outcome.budget : null;
  }
}

function toDetails({ day, month, total }: SpendLimits): AuditDetails {
  const text = (limit: MicroUsd | null) => (limit === null ? null : formatMicros(limit));
  return { day_micros: text(day), month_micros: text(month), total_micros: text(total) };
}

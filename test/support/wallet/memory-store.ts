import type { KeyBudget } from '../../../src/identity/api-keys/key-budget.js';
import { micros, type MicroUsd } from '../../../src/platform/common/money.js';
import { GENESIS_HASH, type Transfer } from '../../../src/money/ledger/transfer.js';
import { applyBatch, type LoadedAccount, type Watch } from '../../../src/money/wallets/rules/batch.js';
import { toBudgetOfUse, utcDay } from '../../../src/money/wallets/rules/key-budget.js';
import type { WalletCommand } from '../../../src/money/wallets/rules/command.js';
import type {
  Freeze,
  Hold,
  RecordedMovement,
  Relief,
  ReturnedMoney,
  ReturnedPayment,
  Wallet,
} from '../../../src/money/wallets/rules/wallet.js';

function emptyWallet(accountId: string): Wallet {
  const zero = micros(0n);
  return {
    accountId,
    status: 'active',
    postedMicros: zero,
    heldMicros: zero,
    debtMicros: zero,
    floorMicros: zero,
    seq: 0,
    headHash: GENESIS_HASH,
    headAtMs: 0,
    lots: [],
  };
}

/** Keeps between steps what the store would keep between batches. */
export class MemoryStore {
  wallet: Wallet;
  watch: Watch = { topUpThresholdMicros: null, lowThresholdMicros: null, level: 'ample' };
  holds = new Map<string, Hold>();
  budgets = new Map<string, KeyBudget>();
  recorded = new Map<string, RecordedMovement>();
  freezes = new Map<string, Freeze>();
  reliefs = new Map<number, Relief>();
  /** What each refund and dispute is of. */
  payments = new Map<string, ReturnedPayment>();
  transfers: Transfer[] = [];
  /** Ids of paid credit that goes to no card. */
  givenLotIds = new Set<string>();

  constructor(private readonly accountId: string) {
    this.wallet = emptyWallet(accountId);
  }

  run(commands: readonly WalletCommand[], nowMs: number) {
    const loaded: LoadedAccount = {
      wallet: this.wallet,
      watch: this.watch,
      holds: [...this.holds.values()],
      budgets: this.budgetsFor(commands),
      recorded: this.recorded,
      freezes: [...this.freezes.values()].filter(({ liftedAtMs }) => liftedAtMs === null),
      reliefs: [...this.reliefs.values()],
      returned: this.returned,
      ownKeyProviders: new Set(),
    };
    const { results, writes } = applyBatch(new Map([[this.accountId, loaded]]), commands, nowMs);
    for (const { level, ...wallet } of writes.wallets) {
      this.wallet = wallet;
      this.watch = { ...this.watch, level };
    }
    for (const hold of [...writes.newHolds, ...writes.resolvedHolds]) this.holds.set(hold.id, hold);
    for (const freeze of [...writes.newFreezes, ...writes.liftedFreezes]) this.freezes.set(freeze.id, freeze);
    for (const relief of [...writes.newReliefs, ...writes.undoneReliefs])
      this.reliefs.set(relief.seq, relief);
    this.transfers.push(...writes.transfers);
    for (const { id, kind, refundable } of writes.newLots) {
      if (kind === 'paid' && !refundable) this.givenLotIds.add(id);
    }
    for (const { keyId, limits, day, used } of writes.changedBudgets) {
      this.budgets.set(keyId, { keyId, limits, day, used });
    }
    for (const { keyId } of writes.endedBudgets) this.budgets.delete(keyId);
    results.forEach((result, index) => {
      const command = commands[index];
      if (result.accepted && result.outcome.type === 'posted' && command && 'reference' in command) {
        this.recorded.set(command.reference, result.outcome.movement);
      }
    });
    return results;
  }

  get returned(): ReturnedMoney {
    const rows = this.transfers
      .filter(({ reference }) => /^(dispute|refund):/.test(reference))
      .map(({ seq, reference, kind, amountMicros, lotId }) => ({
        ...{ seq, reference, kind, amountMicros },
        isGiven: kind === 'reinstatement' && this.givenLotIds.has(lotId ?? ''),
      }));
    return { rows, payments: this.payments };
  }

  /** The stored ones; for a key that is about to get its first limit, what it has used by holds and transfers. */
  private budgetsFor(commands: readonly WalletCommand[]): KeyBudget[] {
    const limited = commands.flatMap((command) => (command.type === 'setKeyBudget' ? [command.keyId] : []));
    const counted = [...new Set(limited)]
      .filter((keyId) => !this.budgets.has(keyId))
      .map((keyId) => toBudgetOfUse(keyId, this.usesOf(keyId)));
    return [...this.budgets.values(), ...counted];
  }

  private usesOf(keyId: string): { day: string; usedMicros: MicroUsd }[] {
    const held = [...this.holds.values()]
      .filter((hold) => hold.keyId === keyId)
      .map(({ status, amountMicros, capturedMicros, createdAtMs }) => ({
        day: utcDay(createdAtMs),
        usedMicros: status === 'authorized' ? amountMicros : capturedMicros,
      }));
    const debited = this.transfers
      .filter(({ kind, actor }) => kind === 'debit' && actor === `account_key:${keyId}`)
      .map(({ createdAtMs, amountMicros }) => ({ day: utcDay(createdAtMs), usedMicros: amountMicros }));
    return [...held, ...debited];
  }
}

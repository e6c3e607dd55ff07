import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { NewAuditEvent } from '../../../identity/audit-log/audit-event.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import { withMembers } from '../../../platform/common/with-members.js';
import { isPlatformBook, type Transfer } from '../../ledger/transfer.js';
import { apply } from './apply.js';
import type { WalletCommand } from './command.js';
import type { Applied, Outcome, Rejection, StatusChange } from './outcome.js';
import { isLimited } from './key-budget.js';
import { withRows } from './returned-money.js';
import { signalsOf, type WalletLevel, type WalletSignal, type Watch } from './signals.js';
import type {
  Aggregate,
  Freeze,
  Hold,
  Lot,
  RecordedMovement,
  Relief,
  ReturnedMoney,
  Wallet,
} from './wallet.js';

/** What the store loaded for one account, before the batch. */
export type LoadedAccount = {
  readonly wallet: Wallet;
  readonly watch: Watch;
  readonly holds: readonly Hold[];
  /** A budget without limits is of a key that is about to get some: it says what the key has used so far. */
  readonly budgets: readonly KeyBudget[];
  readonly recorded: ReadonlyMap<string, RecordedMovement>;
  /** Those in force, oldest first; none are loaded for commands that do not depend on them. */
  readonly freezes: readonly Freeze[];
  /** All of them; none are loaded for commands that do not depend on them. */
  readonly reliefs: readonly Relief[];
  /** Of all refunds and disputes; null where no command depends on them. */
  readonly returned: ReturnedMoney | null;
  /** Providers at which the account has a live key of its own; none are loaded for commands that do not depend on them. */
  readonly ownKeyProviders: ReadonlySet<string>;
};

export type Result =
  | { readonly accepted: true; readonly outcome: Outcome }
  | { readonly accepted: false; readonly rejection: Rejection };

/** A wallet in its final state, with the level that was told. */
export type LevelledWallet = Wallet & { readonly level: WalletLevel };
export type OwnedLot = Lot & { readonly accountId: string };
export type OwnedHold = Hold & { readonly accountId: string };
export type OwnedFreeze = Freeze & { readonly accountId: string };
export type OwnedRelief = Relief & { readonly accountId: string };
export type OwnedBudget = KeyBudget & { readonly accountId: string };

/** Everything that the store has to write, each row once, in its final state. */
export type BatchWrites = {
  readonly wallets: readonly LevelledWallet[];
  readonly transfers: readonly Transfer[];
  readonly newLots: readonly OwnedLot[];
  readonly changedLots: readonly OwnedLot[];
  readonly newHolds: readonly OwnedHold[];
  readonly resolvedHolds: readonly OwnedHold[];
  readonly changedBudgets: readonly OwnedBudget[];
  /** Of keys that have no limit any more. */
  readonly endedBudgets: readonly OwnedBudget[];
  readonly newFreezes: readonly OwnedFreeze[];
  readonly liftedFreezes: readonly OwnedFreeze[];
  readonly newReliefs: readonly OwnedRelief[];
  readonly undoneReliefs: readonly OwnedRelief[];
  readonly statusChanges: readonly StatusChange[];
  readonly auditEvents: readonly NewAuditEvent[];
  readonly signals: readonly WalletSignal[];
};

/** What most accounts of a batch of debits have of holds, budgets and recorded movements; it stays empty. */
const NONE: ReadonlyMap<never, never> = new Map<never, never>();
const NOTHING_RETURNED: ReturnedMoney = { rows: [], payments: NONE };

function withEntry<K, T>(map: ReadonlyMap<K, T>, key: K, value: T): Map<K, T> {
  return (map.size === 0 ? new Map<K, T>() : (map as Map<K, T>)).set(key, value);
}

/** One account while its commands are applied in order. */
class WorkingAccount implements Aggregate {
  wallet: Wallet;
  refusedMicros: MicroUsd | null = null;
  holdsById: ReadonlyMap<string, Hold> = NONE;
  holdsByReference: ReadonlyMap<string, Hold> = NONE;
  budgets: ReadonlyMap<string, KeyBudget> = NONE;
  recorded: ReadonlyMap<string, RecordedMovement> = NONE;
  freezes: ReadonlyMap<string, Freeze> = NONE;
  reliefs: ReadonlyMap<number, Relief> = NONE;
  returned: ReturnedMoney;

  readonly ownKeyProviders: ReadonlySet<string>;

  constructor(readonly loaded: LoadedAccount) {
    this.wallet = loaded.wallet;
    this.ownKeyProviders = loaded.ownKeyProviders;
    this.returned = loaded.returned ?? NOTHING_RETURNED;
    if (loaded.recorded.size > 0) this.recorded = new Map(loaded.recorded);
    for (const budget of loaded.budgets) this.budgets = withEntry(this.budgets, budget.keyId, budget);
    for (const freeze of loaded.freezes) this.freezes = withEntry(this.freezes, freeze.id, freeze);
    for (const relief of loaded.reliefs) this.reliefs = withEntry(this.reliefs, relief.seq, relief);
    for (const hold of loaded.holds) this.remember(hold);
  }

  accept(command: WalletCommand, applied: Applied): void {
    this.wallet = applied.wallet;
    if (applied.hold) this.remember(applied.hold);
    if (applied.budget) this.budgets = withEntry(this.budgets, applied.budget.keyId, applied.budget);
    for (const freeze of applied.freezes) this.freezes = withEntry(this.freezes, freeze.id, freeze);
    if (applied.outcome.type === 'posted' && 'reference' in command) {
      this.recorded = withEntry(this.recorded, command.reference, applied.outcome.movement);
    }
    for (const relief of applied.reliefs) this.reliefs = withEntry(this.reliefs, relief.seq, relief);
    if (this.loaded.returned !== null)
      this.returned = withRows(this.returned, applied.transfers, applied.wallet.lots);
  }

  /** The least amount counts: what could not even pay for that is depleted. */
  refuse(rejection: Rejection): void {
    if (rejection.code !== 'insufficient_credits') return;
    const { requiredMicros } = rejection;
    if (this.refusedMicros === null || requiredMicros < this.refusedMicros)
      this.refusedMicros = requiredMicros;
  }

  private remember(hold: Hold): void {
    this.holdsById = withEntry(this.holdsById, hold.id, hold);
    this.holdsByReference = withEntry(this.holdsByReference, hold.reference, hold);
  }
}

/**
 * Applies commands in order, each seeing what the ones before it did. A rejected command leaves no trace,
 * so one bad command never fails its neighbours.
 */
export function applyBatch(
  loaded: ReadonlyMap<string, LoadedAccount>,
  commands: readonly WalletCommand[],
  nowMs: number,
): { readonly results: readonly Result[]; readonly writes: BatchWrites } {
  const accounts = new Map<string, WorkingAccount>();
  const transfers: Transfer[] = [];
  const statusChanges: StatusChange[] = [];
  const auditEvents: NewAuditEvent[] = [];
  const results = commands.map((command): Result => {
    // The platform's own book is no customer: it has no credit to spend, and takes no command but its own.
    const isMisaddressed = isPlatformBook(command.accountId) !== (command.type === 'book');
    const account = isMisaddressed ? null : working(accounts, loaded, command.accountId);
    if (account === null) return { accepted: false, rejection: { code: 'account_not_found' } };
    const applied = apply(account, command, nowMs);
    if (!applied.accepted) {
      if (isSpending(command)) account.refuse(applied.rejection);
      return applied;
    }
    account.accept(command, applied);
    transfers.push(...applied.transfers);
    if (applied.statusChange) statusChanges.push(applied.statusChange);
    if (command.audit !== undefined && hasEffect(applied.outcome)) auditEvents.push(command.audit);
    return { accepted: true, outcome: applied.outcome };
  });
  return { results, writes: { ...changesOf(accounts.values()), transfers, statusChanges, auditEvents } };
}

function working(
  accounts: Map<string, WorkingAccount>,
  loaded: ReadonlyMap<string, LoadedAccount>,
  accountId: string,
): WorkingAccount | null {
  const known = accounts.get(accountId);
  if (known) return known;
  const found = loaded.get(accountId);
  if (!found) return null;
  const account = new WorkingAccount(found);
  accounts.set(accountId, account);
  return account;
}

function changesOf(
  accounts: Iterable<WorkingAccount>,
): Omit<BatchWrites, 'transfers' | 'statusChanges' | 'auditEvents'> {
  const wallets: LevelledWallet[] = [];
  const newLots: OwnedLot[] = [];
  const changedLots: OwnedLot[] = [];
  const newHolds: OwnedHold[] = [];
  const resolvedHolds: OwnedHold[] = [];
  const changedBudgets: OwnedBudget[] = [];
  const endedBudgets: OwnedBudget[] = [];
  const newFreezes: OwnedFreeze[] = [];
  const liftedFreezes: OwnedFreeze[] = [];
  const newReliefs: OwnedRelief[] = [];
  const undoneReliefs: OwnedRelief[] = [];
  const signals: WalletSignal[] = [];
  for (const { wallet, holdsById, budgets, freezes, reliefs, loaded, refusedMicros } of accounts) {
    const { accountId } = wallet;
    if (wallet === loaded.wallet && refusedMicros === null) continue;
    const told = signalsOf(loaded.watch, { before: loaded.wallet, after: wallet, refusedMicros });
    signals.push(...told.signals);
    if (told.level !== loaded.watch.level || isChanged(wallet, loaded.wallet))
      wallets.push(withMembers(wallet, { level: told.level }));
    if (wallet.lots !== loaded.wallet.lots) {
      const before = byId(loaded.wallet.lots);
      for (const lot of wallet.lots) {
        const remainingBefore = before.get(lot.id)?.remainingMicros;
        if (remainingBefore === undefined) newLots.push(withMembers(lot, { accountId }));
        else if (remainingBefore !== lot.remainingMicros) changedLots.push(withMembers(lot, { accountId }));
      }
    }
    if (holdsById.size > 0) collect(holdsById, byId(loaded.holds), accountId, newHolds, resolvedHolds);
    if (freezes.size > 0) collect(freezes, byId(loaded.freezes), accountId, newFreezes, liftedFreezes);
    if (reliefs.size > 0) {
      const reliefsBefore = new Map(loaded.reliefs.map((relief) => [relief.seq, relief]));
      collect(reliefs, reliefsBefore, accountId, newReliefs, undoneReliefs);
    }
    if (budgets.size > 0) {
      const budgetsBefore = new Map(loaded.budgets.map((budget) => [budget.keyId, budget]));
      for (const budget of budgets.values()) {
        const before = budgetsBefore.get(budget.keyId);
        if (before === budget) continue;
        if (isLimited(budget)) changedBudgets.push({ ...budget, accountId });
        else if (before && isLimited(before)) endedBudgets.push({ ...budget, accountId });
      }
    }
  }
  const changedHolds = { newHolds, resolvedHolds, changedBudgets, endedBudgets };
  const changedFreezes = { newFreezes, liftedFreezes };
  return {
    wallets,
    newLots,
    changedLots,
    ...changedHolds,
    ...changedFreezes,
    newReliefs,
    undoneReliefs,
    signals,
  };
}

/** Adds to `added` what was not there before the batch, and to `changed` what is another one now. */
function collect<K, T extends object>(
  after: ReadonlyMap<K, T>,
  before: ReadonlyMap<K, T>,
  accountId: string,
  added: (T & { readonly accountId: string })[],
  changed: (T & { readonly accountId: string })[],
): void {
  for (const [key, row] of after) {
    const known = before.get(key);
    if (known === undefined) added.push(withMembers(row, { accountId }));
    else if (known !== row) changed.push(withMembers(row, { accountId }));
  }
}

function byId<T extends { readonly id: string }>(rows: readonly T[]): ReadonlyMap<string, T> {
  return new Map(rows.map((row) => [row.id, row]));
}

function isChanged(after: Wallet, before: Wallet): boolean {
  return (
    after.seq !== before.seq ||
    after.heldMicros !== before.heldMicros ||
    after.status !== before.status ||
    after.debtMicros !== before.debtMicros
  );
}

/** A repetition changed nothing: what it repeats is on record. */
function hasEffect(outcome: Outcome): boolean {
  if (outcome.type === 'posted' || outcome.type === 'hold') return !outcome.replayed;
  return outcome.type === 'status' ? outcome.changed : outcome.type === 'key_budget';
}

/** A refund that is refused says nothing of what calls can pay for. */
function isSpending({ type }: WalletCommand): boolean {
  return type === 'debit' || type === 'authorize';
}

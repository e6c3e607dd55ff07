import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { NewAuditEvent } from '../../../identity/audit-log/audit-event.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import { isPlatformBook, type Transfer } from '../../ledger/transfer.js';
import { withMembers, toBalances } from './draft.js';
import type { WalletCommand, Applied, Outcome, Rejection, StatusChange, Rejected } from './command.js';
import { isLimited } from './key-budget.js';
import { withRows } from './returned-money.js';
import type {
  Aggregate,
  Balances,
  Freeze,
  Hold,
  Lot,
  RecordedMovement,
  Relief,
  ReturnedMoney,
  Wallet,
} from './wallet.js';
import { freeze, unfreeze } from './freezes.js';
import { adjust, book, credit, expireLots, grant } from './credits.js';
import { reinstate, reverseCredit, writeOff } from './reversals.js';
import { authorize, capture, debit, expireHold, setKeyBudget, voidHold } from './spending.js';

/** What the store loaded for one account before the batch. */
export type LoadedAccount = {
  readonly wallet: Wallet;
  readonly watch: Watch;
  readonly holds: readonly Hold[];
  /** A budget without limits belongs to a key that is about to get some, and says what the key has used so far. */
  readonly budgets: readonly KeyBudget[];
  readonly recorded: ReadonlyMap<string, RecordedMovement>;
  /** The freezes in force, oldest first; none are loaded when no command depends on them. */
  readonly freezes: readonly Freeze[];
  /** All debt reliefs; none are loaded when no command depends on them. */
  readonly reliefs: readonly Relief[];
  /** All refunds and disputes; null when no command depends on them. */
  readonly returned: ReturnedMoney | null;
  /** Providers at which the account has a live key of its own; none are loaded when no command depends on them. */
  readonly ownKeyProviders: ReadonlySet<string>;
};

export type Result =
  | { readonly accepted: true; readonly outcome: Outcome }
  | { readonly accepted: false; readonly rejection: Rejection };

/** A wallet in its final state, with the level that was last reported. */
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
  /** The budgets of keys that have no limit any more. */
  readonly endedBudgets: readonly OwnedBudget[];
  readonly newFreezes: readonly OwnedFreeze[];
  readonly liftedFreezes: readonly OwnedFreeze[];
  readonly newReliefs: readonly OwnedRelief[];
  readonly undoneReliefs: readonly OwnedRelief[];
  readonly statusChanges: readonly StatusChange[];
  readonly auditEvents: readonly NewAuditEvent[];
  readonly signals: readonly WalletSignal[];
};

/** Most accounts of a batch of debits have no holds, budgets or recorded movements. They share this map, which stays empty. */
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

  /** Only the smallest refused amount is kept: a wallet that cannot pay even that is depleted. */
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
 * Applies commands in order; each one starts from the state that those before it left. A rejected command changes nothing,
 * so one bad command never fails the others.
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
    // The platform's own book has no credit to spend, so it accepts `book` commands only, and no customer's book accepts them.
    const isMisaddressed = isPlatformBook(command.accountId) !== (command.type === 'book');
    const account = isMisaddressed ? null : findWorkingAccount(accounts, loaded, command.accountId);
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
  return { results, writes: { ...collectChanges(accounts.values()), transfers, statusChanges, auditEvents } };
}

/**
 * The rules of a wallet: a pure function of its present state, the command and the time in Unix milliseconds. A rejected
 * command changes nothing.
 */
function apply(aggregate: Aggregate, command: WalletCommand, nowMs: number): Applied | Rejected {
  switch (command.type) {
    case 'credit':
      return credit(aggregate, command, nowMs);
    case 'reinstate':
      return reinstate(aggregate, command, nowMs);
    case 'grant':
      return grant(aggregate, command, nowMs);
    case 'authorize':
      return authorize(aggregate, command, nowMs);
    case 'capture':
      return capture(aggregate, command, nowMs);
    case 'void':
      return voidHold(aggregate, command, nowMs);
    case 'expireHold':
      return expireHold(aggregate, command, nowMs);
    case 'debit':
      return debit(aggregate, command, nowMs);
    case 'reverseCredit':
      return reverseCredit(aggregate, command, nowMs);
    case 'writeOff':
      return writeOff(aggregate, command, nowMs);
    case 'expireLots':
      return expireLots(aggregate, command, nowMs);
    case 'adjust':
      return adjust(aggregate, command, nowMs);
    case 'setKeyBudget':
      return setKeyBudget(aggregate, command, nowMs);
    case 'book':
      return book(aggregate, command, nowMs);
    case 'freeze':
      return freeze(aggregate, command, nowMs);
    case 'unfreeze':
      return unfreeze(aggregate, command, nowMs);
  }
}

function findWorkingAccount(
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

function collectChanges(
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
    const report = findSignals(loaded.watch, { before: loaded.wallet, after: wallet, refusedMicros });
    signals.push(...report.signals);
    if (report.level !== loaded.watch.level || isChanged(wallet, loaded.wallet))
      wallets.push(withMembers(wallet, { level: report.level }));
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

/** Adds to `added` the rows that did not exist before the batch, and to `changed` those that differ now. */
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

/** A repeated command changed nothing, and the command that it repeats is in the audit log already. */
function hasEffect(outcome: Outcome): boolean {
  if (outcome.type === 'posted' || outcome.type === 'hold') return !outcome.replayed;
  return outcome.type === 'status' ? outcome.changed : outcome.type === 'key_budget';
}

/** Only these show what the wallet can pay for: a refund that is refused says nothing about calls. */
function isSpending({ type }: WalletCommand): boolean {
  return type === 'debit' || type === 'authorize';
}

export type WalletLevel = 'ample' | 'low' | 'depleted';

/** The thresholds of a wallet, and the level that was last reported. */
export type Watch = {
  /** Available credit below this needs an auto top-up; null when none is wanted. */
  readonly topUpThresholdMicros: MicroUsd | null;
  /** Posted credit below this is low; null when the customer wants no alert. */
  readonly lowThresholdMicros: MicroUsd | null;
  readonly level: WalletLevel;
};

/** A fact that other modules act on. It is a hint: the handler reads the wallet again. */
export type WalletSignal = {
  readonly accountId: string;
  readonly type: 'below_top_up_threshold' | 'low' | 'depleted' | 'frozen';
  readonly balances: Balances;
  readonly seq: number;
};

/** How a batch changed one wallet. */
export type WalletChange = {
  readonly before: Wallet;
  readonly after: Wallet;
  /** The smallest spend that was refused for lack of credit; null when none was. */
  readonly refusedMicros: MicroUsd | null;
};

/** Low credit has recovered at this share of its threshold, so a balance that varies around the threshold is reported once. */
const RECOVERED_PERCENT = 120n;

/**
 * Finds what has to be reported about the change of a wallet by a batch, and the level to remember.
 *
 * Low and depleted are judged by posted credit: every call makes and ends a hold, and ten running images must not
 * raise an alert that their results make wrong. The top-up threshold is compared with available credit: what holds have set
 * aside is about to be spent, and the top-up must arrive before calls are refused.
 */
export function findSignals(
  watch: Watch,
  change: WalletChange,
): { readonly level: WalletLevel; readonly signals: readonly WalletSignal[] } {
  const level = findLevel(watch, change);
  const { before, after } = change;
  const types = [
    ...(needsTopUp(watch, change) ? ['below_top_up_threshold' as const] : []),
    ...(level === 'depleted' && watch.level !== 'depleted' ? ['depleted' as const] : []),
    ...(level === 'low' && watch.level === 'ample' ? ['low' as const] : []),
    ...(after.status === 'frozen' && before.status !== 'frozen' ? ['frozen' as const] : []),
  ];
  const { accountId, seq } = after;
  return { level, signals: types.map((type) => ({ accountId, type, balances: toBalances(after), seq })) };
}

function findLevel(
  { level, lowThresholdMicros }: Watch,
  { before, after, refusedMicros }: WalletChange,
): WalletLevel {
  const posted = after.postedMicros;
  // Credit that holds have set aside may be released, so a refusal counts only if even with it there was too little.
  const cannotPay = refusedMicros !== null && posted - after.floorMicros < refusedMicros;
  const ranOut = posted <= after.floorMicros && posted < before.postedMicros;
  if (cannotPay || ranOut) return 'depleted';
  if (level === 'depleted' && posted <= before.postedMicros) return 'depleted';
  if (lowThresholdMicros === null) return 'ample';
  if (level === 'ample') return posted < lowThresholdMicros ? 'low' : 'ample';
  return posted * 100n < lowThresholdMicros * RECOVERED_PERCENT ? 'low' : 'ample';
}

/** Reported when available credit falls below the threshold, and when new credit or an unfreeze leaves the wallet below it. */
function needsTopUp({ topUpThresholdMicros: threshold }: Watch, { before, after }: WalletChange): boolean {
  if (threshold === null || after.status === 'frozen') return false;
  if (toBalances(after).availableMicros >= threshold) return false;
  return (
    toBalances(before).availableMicros >= threshold ||
    after.postedMicros > before.postedMicros ||
    before.status === 'frozen'
  );
}

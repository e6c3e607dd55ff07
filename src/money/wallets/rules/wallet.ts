import { micros, type MicroUsd, smaller, ZERO } from '../../../platform/common/money.js';
import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { TransferKind, CustomerLedgerAccount } from '../../ledger/chart-of-accounts.js';
import type { Parts } from './payment-parts.js';

export type WalletStatus = 'active' | 'frozen';
export type FreezeSource = 'operator' | 'dispute' | 'early_fraud_warning' | 'refund';
export type LotKind = 'paid' | 'promotional';
export type HoldStatus = 'authorized' | 'captured' | 'voided' | 'expired';

/** Credit from one top-up or grant. */
export type Lot = {
  readonly id: string;
  readonly kind: LotKind;
  /** What it came from: `top_up`, `grant`, `adjustment`, `reinstatement`, `write_off`. */
  readonly source: string;
  /** Whether it was bought and may go back to a card: nothing that was given ever does. */
  readonly refundable: boolean;
  readonly grantedMicros: MicroUsd;
  readonly remainingMicros: MicroUsd;
  /** Lower burns first among lots of the same kind. */
  readonly priority: number;
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
};

/** Credit set aside for a call that is still running. */
export type Hold = {
  readonly id: string;
  readonly reference: string;
  readonly fingerprint: string;
  /** Whose budget it takes from; null: no API key of the account asked for it. */
  readonly keyId: string | null;
  /** Which attempt of a client that sends a call again by itself; null: of one that does not. */
  readonly attempt: number | null;
  readonly amountMicros: MicroUsd;
  readonly capturedMicros: MicroUsd;
  readonly status: HoldStatus;
  readonly memo: string | null;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly resolvedAtMs: number | null;
};

/**
 * One reason why nothing may be spent. Whoever brought it lifts it and no other; the wallet is frozen while any is in
 * force. It is kept when it is lifted.
 */
export type Freeze = {
  readonly id: string;
  readonly source: FreezeSource;
  /** Which dispute, which warning; empty for operators, who have one reason together. */
  readonly sourceId: string;
  readonly reason: string;
  readonly actor: string;
  readonly createdAtMs: number;
  readonly liftedAtMs: number | null;
  readonly liftedBy: string | null;
  readonly liftedReason: string | null;
};

/**
 * A wallet as the rules see it. `postedMicros` always equals the lots' remaining credit minus the debt;
 * available is posted minus held.
 */
export type Wallet = {
  readonly accountId: string;
  readonly status: WalletStatus;
  readonly postedMicros: MicroUsd;
  readonly heldMicros: MicroUsd;
  readonly debtMicros: MicroUsd;
  /** How far available may fall: 0 for prepaid, negative for a credit line. */
  readonly floorMicros: MicroUsd;
  /** Length of the account's chain, its last hash and the time of its last row. */
  readonly seq: number;
  readonly headHash: string;
  readonly headAtMs: number;
  /** Lots with something left, in burn order. */
  readonly lots: readonly Lot[];
};

/** The three numbers that are always shown. */
export type Balances = {
  readonly postedMicros: MicroUsd;
  readonly heldMicros: MicroUsd;
  readonly availableMicros: MicroUsd;
};

export function balancesOf(wallet: Wallet): Balances {
  return {
    postedMicros: wallet.postedMicros,
    heldMicros: wallet.heldMicros,
    availableMicros: micros(wallet.postedMicros - wallet.heldMicros),
  };
}

/** What a new debit or hold may take: available, down to the floor. */
export function spendable(wallet: Wallet): MicroUsd {
  return micros(wallet.postedMicros - wallet.heldMicros - wallet.floorMicros);
}

/**
 * Debt that was paid with what nobody bought. When money that was away at the time comes back, it is undone as far as it would
 * not have been needed (`reliefs.ts`).
 */
export type Relief = {
  /** The place of its row in the account's chain. */
  readonly seq: number;
  readonly reference: string;
  readonly kind: 'write_off' | 'given_credit';
  readonly amountMicros: MicroUsd;
  /** What was still owed when it was posted. */
  readonly owedBesideMicros: MicroUsd;
  readonly undoneMicros: MicroUsd;
};

/** A row of the ledger of a refund or a dispute: money that went back, that came back, or debt of it that was given up. */
export type ReturnedRow = {
  readonly seq: number;
  readonly reference: string;
  readonly kind: TransferKind;
  readonly amountMicros: MicroUsd;
  /** Of credit that came back: whether it goes to no card. */
  readonly isGiven: boolean;
};

/** What a refund or a dispute is of. */
export type ReturnedPayment = { readonly id: string; readonly paid: Parts };

/** All that the ledger has of an account's refunds and disputes. */
export type ReturnedMoney = {
  /** In the order of the chain. */
  readonly rows: readonly ReturnedRow[];
  /** By refund and dispute, by what the references of its movements begin with. What is of no payment is bounded by none. */
  readonly payments: ReadonlyMap<string, ReturnedPayment>;
};

/** A movement that the ledger already has under some reference. */
export type RecordedMovement = {
  readonly linkId: string;
  readonly transferId: string;
  /** Its first row's place in the account's chain. */
  readonly seq: number;
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
  readonly createdAtMs: number;
};

/**
 * Everything that one command may depend on: the wallet with its live lots, the holds that the batch names
 * (by id and by reference, and for an attempt at a call all that are open for the same request), the budgets of the keys that it and those holds name, and the references that the
 * ledger already knows.
 */
export type Aggregate = {
  readonly wallet: Wallet;
  readonly holdsById: ReadonlyMap<string, Hold>;
  readonly holdsByReference: ReadonlyMap<string, Hold>;
  /** By the key's id. A key that has none is not limited. */
  readonly budgets: ReadonlyMap<string, KeyBudget>;
  readonly recorded: ReadonlyMap<string, RecordedMovement>;
  /** By id, those in force: for commands that freeze or unfreeze only. Others need nothing but the wallet's status. */
  readonly freezes: ReadonlyMap<string, Freeze>;
  /** By their place, all of them: for commands whose money may undo them, and for write-offs. */
  readonly reliefs: ReadonlyMap<number, Relief>;
  /** All refunds and disputes of the account, for the same commands. */
  readonly returned: ReturnedMoney;
  /** At which the account has a live key of its own; loaded for commands that depend on it only. */
  readonly ownKeyProviders: ReadonlySet<string>;
};

export type Portion = { readonly lot: Lot; readonly amountMicros: MicroUsd };
export type Taken = { readonly portions: readonly Portion[]; readonly missingMicros: MicroUsd };

/** Promotional before paid, then lower priority number, then earliest expiry, then oldest. */
export function compareBurnOrder(a: Lot, b: Lot): number {
  if (a.kind !== b.kind) return a.kind === 'promotional' ? -1 : 1;
  if (a.priority !== b.priority) return a.priority - b.priority;
  const expiryA = a.expiresAtMs ?? Number.POSITIVE_INFINITY;
  const expiryB = b.expiresAtMs ?? Number.POSITIVE_INFINITY;
  if (expiryA !== expiryB) return expiryA - expiryB;
  if (a.createdAtMs !== b.createdAtMs) return a.createdAtMs - b.createdAtMs;
  return a.id < b.id ? -1 : 1;
}

export function isDue(lot: Lot, nowMs: number): boolean {
  return lot.expiresAtMs !== null && lot.expiresAtMs <= nowMs;
}

export function ledgerAccountOf(lot: Lot): CustomerLedgerAccount {
  return lot.kind === 'paid' ? 'customer_credit' : 'customer_promo';
}

/** Takes up to `amountMicros` from the lots in the order given. */
export function takeFrom(lots: readonly Lot[], amountMicros: MicroUsd): Taken {
  const portions: Portion[] = [];
  let missing = amountMicros;
  for (const lot of lots) {
    if (missing === 0n) break;
    const part = smaller(lot.remainingMicros, missing);
    if (part === 0n) continue;
    portions.push({ lot, amountMicros: part });
    missing = micros(missing - part);
  }
  return { portions, missingMicros: missing };
}

/**
 * What expires now. Holds reserve lots in burn order, as the calls they stand for would burn them, and a
 * reserved part outlives its lot until the hold is resolved.
 */
export function dueForExpiry(lots: readonly Lot[], heldMicros: MicroUsd, nowMs: number): Portion[] {
  const due: Portion[] = [];
  let unreserved = heldMicros;
  for (const lot of lots) {
    const reserved = smaller(lot.remainingMicros, unreserved);
    unreserved = micros(unreserved - reserved);
    const lapsed = micros(lot.remainingMicros - reserved);
    if (lapsed > 0n && isDue(lot, nowMs)) due.push({ lot, amountMicros: lapsed });
  }
  return due;
}

export function totalRemaining(lots: readonly Lot[]): MicroUsd {
  return lots.reduce((sum, lot) => micros(sum + lot.remainingMicros), ZERO);
}

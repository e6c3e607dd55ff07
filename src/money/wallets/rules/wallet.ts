import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import type { TransferKind } from '../../ledger/transfer.js';
import type { Parts } from './payment-parts.js';

export type WalletStatus = 'active' | 'frozen';

export type FreezeSource = 'operator' | 'dispute' | 'early_fraud_warning' | 'refund';

export type LotKind = 'paid' | 'promotional';

export type HoldStatus = 'authorized' | 'captured' | 'voided' | 'expired';

/** Credit from one top-up or grant. */
export type Lot = {
  readonly id: string;
  readonly kind: LotKind;
  /** What it came from: `top_up`, `grant`, `adjustment`, `reinstatement`; in old rows also `write_off`. */
  readonly source: string;
  /** Whether it was bought and may be refunded to a card. Given credit never is. */
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
  /** The API key whose budget it takes from; null when no key of the account asked for it. */
  readonly keyId: string | null;
  /** Which attempt of a client that numbers its attempts at a call; null for other clients. */
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
 * One reason why nothing may be spent. Its source lifts it and no other freeze; the wallet is frozen while any of them is in
 * force. The record stays when it is lifted.
 */
export type Freeze = {
  readonly id: string;
  readonly source: FreezeSource;
  /** The id of the dispute, the warning or the refund; empty for operators, who share one freeze. */
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

/** The three amounts that every answer shows. */
export type Balances = {
  readonly postedMicros: MicroUsd;
  readonly heldMicros: MicroUsd;
  readonly availableMicros: MicroUsd;
};

/**
 * Debt that was paid with credit that was not bought. When money that was away at the time comes back, the relief is undone as far
 * as it would not have been needed (`reversals.ts`).
 */
export type Relief = {
  /** The `seq` of its row in the chain of the account. */
  readonly seq: number;
  readonly reference: string;
  readonly kind: 'write_off' | 'given_credit';
  readonly amountMicros: MicroUsd;
  /** What was still owed after it was posted. */
  readonly stillOwedMicros: MicroUsd;
  readonly undoneMicros: MicroUsd;
};

/** A ledger row of a refund or a dispute: money that went back, money that came back, or debt that was written off. */
export type ReturnedRow = {
  readonly seq: number;
  readonly reference: string;
  readonly kind: TransferKind;
  readonly amountMicros: MicroUsd;
  /** For credit that came back: whether it is given credit, which is never refunded to a card. */
  readonly isGiven: boolean;
};

/** The payment of a refund or a dispute. */
export type ReturnedPayment = { readonly id: string; readonly paid: Parts };

/** Everything that the ledger has about the refunds and disputes of an account. */
export type ReturnedMoney = {
  /** In the order of the chain. */
  readonly rows: readonly ReturnedRow[];
  /** By the refund or dispute, as the references of its movements begin. One without a payment has no upper bound. */
  readonly payments: ReadonlyMap<string, ReturnedPayment>;
};

/** A movement that the ledger already has under its reference. */
export type RecordedMovement = {
  readonly linkId: string;
  readonly transferId: string;
  /** The `seq` of its first row. */
  readonly seq: number;
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
  readonly createdAtMs: number;
};

/**
 * Everything that one command may depend on: the wallet with its live lots; the holds that the batch names, by id and by
 * reference, and for an attempt at a call all that are open for the same request; the budgets of the keys that the batch and those
 * holds name; and the references that the ledger already has.
 */
export type Aggregate = {
  readonly wallet: Wallet;
  readonly holdsById: ReadonlyMap<string, Hold>;
  readonly holdsByReference: ReadonlyMap<string, Hold>;
  /** By the id of the key. A key without a budget is not limited. */
  readonly budgets: ReadonlyMap<string, KeyBudget>;
  readonly recorded: ReadonlyMap<string, RecordedMovement>;
  /** The freezes in force by id, only for commands that freeze or unfreeze. Others need the wallet's status alone. */
  readonly freezes: ReadonlyMap<string, Freeze>;
  /** All reliefs by their `seq`, for commands whose money may undo them, and for write-offs. */
  readonly reliefs: ReadonlyMap<number, Relief>;
  /** All refunds and disputes of the account, for the same commands. */
  readonly returned: ReturnedMoney;
  /** The providers at which the account has a live key of its own; loaded only for commands that depend on it. */
  readonly ownKeyProviders: ReadonlySet<string>;
};

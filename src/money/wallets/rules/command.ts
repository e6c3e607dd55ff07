import type { NewAuditEvent } from '../../../identity/audit-log/audit-event.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import type { PlatformKind, Transfer } from '../../ledger/transfer.js';
import type { CountedUse, SpendLimits, KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type {
  FreezeSource,
  Balances,
  Freeze,
  Hold,
  RecordedMovement,
  Relief,
  Wallet,
  WalletStatus,
} from './wallet.js';
import type { ReachedLimit } from './key-budget.js';

type Addressed = {
  readonly accountId: string;
  /** Who sends the command: `account_key:key_…`, `operator_key:key_…`, `stripe`, `system`. It is written on every row. */
  readonly actor: string;
  /** Written to the audit log in the same commit when the command has an effect. */
  readonly audit?: NewAuditEvent;
};

type Referenced = Addressed & {
  /** Unique in the account permanently: the same reference never moves money twice. */
  readonly reference: string;
  /** The request in canonical form: the same reference with another fingerprint is a conflict. */
  readonly fingerprint: string;
  readonly memo: string | null;
};

/** Adds paid credit, with the fee and the tax that were paid in addition to it. It repays debt first. */
export type CreditCommand = Referenced & {
  readonly type: 'credit';
  readonly cause: 'top_up';
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  readonly expiresAtMs: number | null;
};

/**
 * Adds credit again that was taken for a refund or a dispute, all of it or a part, because its money came back. The wallet is then
 * as if the credit had never been taken: debt that was written off, or paid with given credit, in the meantime is not paid twice.
 * The reference begins with `dispute:<id>:` or `refund:<id>:`, as those of the write-offs do.
 */
export type ReinstateCommand = Referenced & {
  readonly type: 'reinstate';
  /** The lot of the bought part, which may be refunded to a card. */
  readonly lotId: string;
  /** The lot of the part that replaces given credit, which had paid debt while the money was away. */
  readonly givenLotId: string;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /** What comes back of the money that was taken beyond the payment, and what comes back beyond all that was taken. */
  readonly excessMicros: MicroUsd;
};

/** Adds promotional credit. */
export type GrantCommand = Referenced & {
  readonly type: 'grant';
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
  readonly priority: number;
  readonly expiresAtMs: number | null;
};

type Spending = Referenced & {
  /** The API key whose budget this takes from; null when no key of the account asked for it. */
  readonly keyId: string | null;
};

/** Which attempt at a call asks for credit, for clients that repeat a call by themselves when they get no answer. */
export type Attempt = {
  /** 0 is the first attempt. Null when the client does not number them: then any hold for the same request is another attempt. */
  readonly number: number | null;
  readonly beganAtMs: number;
  /** The same time by `performance.now()`, from which the store computes the time by the ledger's clock, as holds have it. */
  readonly beganAtMonotonicMs: number;
  /** Open holds for the same request that this attempt knows to belong to other calls. */
  readonly otherCallsHoldIds: readonly string[];
};

/** Sets credit aside. Nothing is posted. */
export type AuthorizeCommand = Spending & {
  readonly type: 'authorize';
  readonly holdId: string;
  readonly amountMicros: MicroUsd;
  readonly expiresAtMs: number;
  /** Attempts at one call, which have the same key and fingerprint, get its credit once. When absent, every hold is separate. */
  readonly attempt?: Attempt | null;
  /**
   * Providers that would serve the call with the account's own key. When the account has a key at one of them, no credit is set
   * aside, because the customer has decided that such calls cost the wallet nothing. When absent, the wallet pays in any case.
   */
  readonly unlessOwnKeyAt?: readonly string[];
};

/** Posts the amount that was delivered and releases the rest of the hold. */
export type CaptureCommand = Addressed & {
  readonly type: 'capture';
  readonly holdId: string;
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
};

export type VoidCommand = Addressed & { readonly type: 'void'; readonly holdId: string };

/** Does nothing before the hold expires, so a sweep may name any hold. */
export type ExpireHoldCommand = Addressed & { readonly type: 'expireHold'; readonly holdId: string };

/** With a key, the key is also the actor, because only the actor says in the ledger whose budget a debit took from. */
export type DebitCommand = Spending & { readonly type: 'debit'; readonly amountMicros: MicroUsd };

/**
 * Takes bought credit because its payment went back. A refund that is requested here never takes more than is available. When the
 * money is gone already, all of the credit is taken, and what was spent of it becomes debt. A dispute always freezes the wallet; a
 * refund that was made at Stripe freezes it when the wallet cannot cover the amount.
 */
export type ReverseCreditCommand = Referenced & {
  readonly type: 'reverseCredit';
  readonly cause: 'refund' | 'dispute';
  /** The lot that the returned payment bought, which is taken first. */
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /**
   * What went back beyond what was left of the payment. It is our loss and takes no credit. A negative amount is no longer
   * beyond the payment, because other money of the payment came back, and is part of the amounts above instead.
   */
  readonly excessMicros: MicroUsd;
  /** Why the wallet freezes; null for a refund that is requested here, whose money we still have. */
  readonly freeze: NewFreeze | null;
};

/**
 * Writes off the debt that a refund or a dispute has left: at most the credit that was taken for it and neither came back nor was
 * written off, and at most what the wallet owes under its lock. It may be sent as often as there is such debt, once for each
 * reference, which begins with `dispute:<id>:` or `refund:<id>:`. The amount follows from the ledger, so the command has none, and a
 * repetition cannot have another one.
 */
export type WriteOffCommand = Addressed & {
  readonly type: 'writeOff';
  readonly reference: string;
  readonly memo: string | null;
};

/** Posts the expiry of every lot that is due. */
export type ExpireLotsCommand = Addressed & { readonly type: 'expireLots' };

/** An operator's correction; negative takes paid credit away. The memo is the reason. */
export type AdjustCommand = Referenced & {
  readonly type: 'adjust';
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
};

/** A reason to freeze, with the ids that the freeze and the change of the wallet's status get if they are new. */
export type NewFreeze = {
  readonly id: string;
  readonly source: FreezeSource;
  readonly sourceId: string;
  readonly reason: string;
  readonly statusChangeId: string;
};

export type FreezeCommand = Addressed & { readonly type: 'freeze'; readonly freeze: NewFreeze };

/** Lifts the freezes that match every member of `lifts`: one by its id, one by its source, or all when it has no members. */
export type UnfreezeCommand = Addressed & {
  readonly type: 'unfreeze';
  readonly lifts: { readonly id?: string; readonly source?: FreezeSource; readonly sourceId?: string };
  readonly statusChangeId: string;
  readonly reason: string;
};

/** Sets what an API key may spend. Limits that are absent stay unchanged. A key without any limit has no budget any more. */
export type SetKeyBudgetCommand = Addressed & {
  readonly type: 'setKeyBudget';
  readonly keyId: string;
  readonly limits: Partial<SpendLimits>;
  /** What was counted before, so that the whole chain is not counted under the wallet's lock; null counts it there. */
  readonly counted: CountedUse | null;
};

/** Books what Stripe kept, what went to the bank, and payments that credited no account. Only the platform's own book accepts it. */
export type BookCommand = Referenced & {
  readonly type: 'book';
  readonly legs: readonly { readonly kind: PlatformKind; readonly amountMicros: MicroUsd }[];
};

export type WalletCommand =
  | CreditCommand
  | ReinstateCommand
  | GrantCommand
  | AuthorizeCommand
  | CaptureCommand
  | VoidCommand
  | ExpireHoldCommand
  | DebitCommand
  | ReverseCreditCommand
  | WriteOffCommand
  | ExpireLotsCommand
  | AdjustCommand
  | SetKeyBudgetCommand
  | BookCommand
  | FreezeCommand
  | UnfreezeCommand;

/** The result of an accepted command. `replayed` means that the ledger had it already, and nothing moved again. */
export type Outcome =
  | {
      readonly type: 'posted';
      readonly replayed: boolean;
      readonly movement: RecordedMovement;
      readonly balances: Balances;
    }
  | { readonly type: 'hold'; readonly replayed: boolean; readonly hold: Hold; readonly balances: Balances }
  /** The hold had its one terminal transition earlier, and this command asked for a different one. */
  | { readonly type: 'already_resolved'; readonly hold: Hold; readonly balances: Balances }
  | { readonly type: 'hold_not_due'; readonly hold: Hold; readonly balances: Balances }
  /** There was no debt to write off, so nothing was recorded. A later command may find some. */
  | { readonly type: 'nothing_owed'; readonly balances: Balances }
  | { readonly type: 'key_budget'; readonly budget: KeyBudget; readonly balances: Balances }
  | { readonly type: 'lots_expired'; readonly expiredMicros: MicroUsd; readonly balances: Balances }
  | {
      readonly type: 'status';
      readonly changed: boolean;
      readonly status: WalletStatus;
      /** The freezes in force now. */
      readonly freezes: readonly Freeze[];
      readonly balances: Balances;
    };

/** Why a command changed nothing. */
export type Rejection =
  | { readonly code: 'invalid_amount' }
  | { readonly code: 'expiry_not_ahead' }
  | { readonly code: 'account_not_found' }
  | { readonly code: 'hold_not_found' }
  | { readonly code: 'reference_conflict' }
  /** Another attempt at the same call has its credit set aside. */
  | { readonly code: 'other_attempt' }
  /** The account has a provider key of its own that serves the call. */
  | { readonly code: 'provider_key_attached' }
  | { readonly code: 'insufficient_credits'; readonly requiredMicros: MicroUsd; readonly balances: Balances }
  | { readonly code: 'wallet_frozen'; readonly requiredMicros: MicroUsd; readonly balances: Balances }
  | (ReachedLimit & {
      readonly code: 'key_limit_reached';
      readonly requiredMicros: MicroUsd;
      readonly balances: Balances;
    })
  | { readonly code: 'amount_exceeds_hold'; readonly holdMicros: MicroUsd }
  | { readonly code: 'wallet_in_debt'; readonly uncoveredMicros: MicroUsd; readonly balances: Balances };

export type StatusChange = {
  readonly accountId: string;
  readonly id: string;
  readonly status: WalletStatus;
  readonly actor: string;
  readonly reason: string;
  readonly createdAtMs: number;
};

/** The whole effect of one accepted command. */
export type Applied = {
  readonly accepted: true;
  readonly wallet: Wallet;
  readonly transfers: readonly Transfer[];
  /** The hold that the command created or resolved. */
  readonly hold: Hold | null;
  /** The budget that the command took from, gave back to, or limited. */
  readonly budget: KeyBudget | null;
  /** The freezes that the command added or lifted. */
  readonly freezes: readonly Freeze[];
  readonly statusChange: StatusChange | null;
  /** The debt reliefs that the command made or undid. */
  readonly reliefs: readonly Relief[];
  readonly outcome: Outcome;
};

export type Rejected = { readonly accepted: false; readonly rejection: Rejection };

export function reject(rejection: Rejection): Rejected {
  return { accepted: false, rejection };
}

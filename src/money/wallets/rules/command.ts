import type { NewAuditEvent } from '../../../identity/audit-log/audit-event.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import type { PlatformKind } from '../../ledger/chart-of-accounts.js';
import type { CountedUse, SpendLimits, KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { Transfer } from '../../ledger/transfer.js';
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
  /** Who wants it: `api_key:key_…`, `operator:key_…`, `stripe`, `system`. Written on every row. */
  readonly actor: string;
  /** For the audit log, in the same commit; kept when the command had an effect. */
  readonly audit?: NewAuditEvent;
};

type Referenced = Addressed & {
  /** Unique for ever in the account: the same reference never moves money twice. */
  readonly reference: string;
  /** The request in canonical form: the same reference with another fingerprint is a conflict. */
  readonly fingerprint: string;
  readonly memo: string | null;
};

/** Paid credit comes in, with the fee and tax that were paid beside it. Repays debt first. */
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
 * Credit that was taken for a refund or a dispute comes back, all of it or a part, because its money did. The wallet is then as if
 * it had never been taken: debt that was written off, or paid with given credit, while it was away is not paid twice. The
 * reference begins with `dispute:<id>:` or `refund:<id>:`, as those of its write-offs do.
 */
export type ReinstateCommand = Referenced & {
  readonly type: 'reinstate';
  /** The lot of what was bought, which may go back to a card. */
  readonly lotId: string;
  /** The lot of what comes back for given credit that paid debt while the money was away. */
  readonly givenLotId: string;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /** Of what was taken beyond the payment, and what comes back beyond all that was taken. */
  readonly excessMicros: MicroUsd;
};

/** Promotional credit is given. */
export type GrantCommand = Referenced & {
  readonly type: 'grant';
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
  readonly priority: number;
  readonly expiresAtMs: number | null;
};

type Spending = Referenced & {
  /** The API key whose budget this takes from; null: no key of the account asked for it. */
  readonly keyId: string | null;
};

/** Which attempt at one call asks for credit, where a client sends a call again by itself when it gets no answer. */
export type Attempt = {
  /** 0: the first. Null: the client does not say, and whoever has the same credit is another attempt. */
  readonly number: number | null;
  readonly beganAtMs: number;
  /** The same moment by `performance.now()`: the store dates it by the ledger's clock, which dates holds. */
  readonly beganAtMonotonicMs: number;
  /** Open holds for the same request which this attempt knows to be of other calls. */
  readonly otherCallsHoldIds: readonly string[];
};

/** Sets credit aside; nothing is posted. */
export type AuthorizeCommand = Spending & {
  readonly type: 'authorize';
  readonly holdId: string;
  readonly amountMicros: MicroUsd;
  readonly expiresAtMs: number;
  /** With a key and one fingerprint, attempts at one call get its credit once. Left out: every hold stands by itself. */
  readonly attempt?: Attempt | null;
  /**
   * Providers that would serve the call over the account's own key. With a key at one of them no credit is set aside: the
   * customer has decided that such calls cost the wallet nothing. Left out: the wallet pays, whatever keys there are.
   */
  readonly unlessOwnKeyAt?: readonly string[];
};

/** Posts what was delivered and releases the rest of the hold. */
export type CaptureCommand = Addressed & {
  readonly type: 'capture';
  readonly holdId: string;
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
};

export type VoidCommand = Addressed & { readonly type: 'void'; readonly holdId: string };

/** Does nothing before the hold's time is over, so a sweep may name any hold. */
export type ExpireHoldCommand = Addressed & { readonly type: 'expireHold'; readonly holdId: string };

/** With a key, the key is also the actor: the ledger names whose budget a debit took from by nothing else. */
export type DebitCommand = Spending & { readonly type: 'debit'; readonly amountMicros: MicroUsd };

/**
 * Bought credit goes back. A refund that is asked for never takes more than is available. Where the money is gone already, all
 * is taken and what was spent becomes debt: a dispute always freezes the wallet, a refund that somebody made at Stripe does
 * where the wallet cannot cover it.
 */
export type ClawBackCommand = Referenced & {
  readonly type: 'clawBack';
  readonly cause: 'refund' | 'dispute';
  /** The lot that the returned payment bought; taken first. */
  readonly lotId: string;
  readonly amountMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /**
   * What went back beyond what was left of the payment: our loss, no credit's. Below zero: so much of it is not beyond the payment
   * any more, because other money of it came back, and goes as the parts above instead.
   */
  readonly excessMicros: MicroUsd;
  /** Why the wallet freezes; null for a refund that is asked for, whose money is still ours. */
  readonly freeze: NewFreeze | null;
};

/**
 * Gives up debt that money which went back has left: at most what is taken for it and neither back nor given up, at most what the
 * wallet owes under its lock. It may be made as often as there is such debt, once for a reference, which begins with
 * `dispute:<id>:` or `refund:<id>:`. The ledger says all of it, so the command names no amount, and a repetition cannot have another one.
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

/** A reason to freeze, with the ids that it and the change of the wallet's status get if they are new. */
export type NewFreeze = {
  readonly id: string;
  readonly source: FreezeSource;
  readonly sourceId: string;
  readonly reason: string;
  readonly statusChangeId: string;
};

export type FreezeCommand = Addressed & { readonly type: 'freeze'; readonly freeze: NewFreeze };

/** Lifts the reasons that have all of what `lifts` says: one by its id, one by its source, or with nothing said, all. */
export type UnfreezeCommand = Addressed & {
  readonly type: 'unfreeze';
  readonly lifts: { readonly id?: string; readonly source?: FreezeSource; readonly sourceId?: string };
  readonly statusChangeId: string;
  readonly reason: string;
};

/** Sets what an API key may spend; limits that are left out stay. With none left the key has no budget any more. */
export type SetKeyBudgetCommand = Addressed & {
  readonly type: 'setKeyBudget';
  readonly keyId: string;
  readonly limits: Partial<SpendLimits>;
  /** Spares counting all of the chain under the wallet's lock; null counts it there. */
  readonly counted: CountedUse | null;
};

/** What Stripe kept, what went to the bank, what nobody was credited with. For the platform's book only, which has no credit. */
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
  | ClawBackCommand
  | WriteOffCommand
  | ExpireLotsCommand
  | AdjustCommand
  | SetKeyBudgetCommand
  | BookCommand
  | FreezeCommand
  | UnfreezeCommand;

/** What a command came to. `replayed` means the ledger had it already and nothing moved again. */
export type Outcome =
  | {
      readonly type: 'posted';
      readonly replayed: boolean;
      readonly movement: RecordedMovement;
      readonly balances: Balances;
    }
  | { readonly type: 'hold'; readonly replayed: boolean; readonly hold: Hold; readonly balances: Balances }
  /** The hold had its one terminal transition before, and this command asked for another. */
  | { readonly type: 'already_resolved'; readonly hold: Hold; readonly balances: Balances }
  | { readonly type: 'hold_not_due'; readonly hold: Hold; readonly balances: Balances }
  /** There was no debt to give up, so nothing was recorded: asked again later, there may be some. */
  | { readonly type: 'nothing_owed'; readonly balances: Balances }
  | { readonly type: 'key_budget'; readonly budget: KeyBudget; readonly balances: Balances }
  | { readonly type: 'lots_expired'; readonly expiredMicros: MicroUsd; readonly balances: Balances }
  | {
      readonly type: 'status';
      readonly changed: boolean;
      readonly status: WalletStatus;
      /** What is in force now. */
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
  /** The hold that the command made or resolved. */
  readonly hold: Hold | null;
  /** The budget of the key that the command took from, gave back to, or limited. */
  readonly budget: KeyBudget | null;
  /** The reasons to freeze that the command brought or lifted. */
  readonly freezes: readonly Freeze[];
  readonly statusChange: StatusChange | null;
  /** The reliefs that the command made or undid. */
  readonly reliefs: readonly Relief[];
  readonly outcome: Outcome;
};

export type Rejected = { readonly accepted: false; readonly rejection: Rejection };

export function reject(rejection: Rejection): Rejected {
  return { accepted: false, rejection };
}

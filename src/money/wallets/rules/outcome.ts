import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import type { MicroUsd } from '../../../platform/common/money.js';
import type { ReachedLimit } from './key-budget.js';
import type { Transfer } from '../../ledger/transfer.js';
import type { Balances, Freeze, Hold, RecordedMovement, Relief, Wallet, WalletStatus } from './wallet.js';

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

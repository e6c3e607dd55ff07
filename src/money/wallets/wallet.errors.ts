import type { LimitPeriod } from '../../identity/api-keys/key-budget.js';
import { formatMicros, formatUsd, micros, type MicroUsd } from '../../platform/common/money.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { Problem } from '../../platform/errors/problem.js';
import type { WalletCommand, Rejection } from './rules/command.js';
import type { ReachedLimit } from './rules/key-budget.js';
import type { Balances } from './rules/wallet.js';

/** Which limit refused: the wallet's credit, a key's budget, or a freeze. */
export type LimitSource = 'wallet' | 'key' | 'frozen';

function limitDetails(
  requiredMicros: MicroUsd,
  balances: Balances,
  limitSource: LimitSource,
  roomMicros = balances.availableMicros,
) {
  const shortfall = micros(requiredMicros - roomMicros);
  return {
    charged_micros: '0',
    required_micros: formatMicros(requiredMicros),
    available_micros: formatMicros(balances.availableMicros),
    held_micros: formatMicros(balances.heldMicros),
    shortfall_micros: formatMicros(shortfall > 0n ? shortfall : micros(0n)),
    limit_source: limitSource,
  };
}

/** 402: the wallet holds less than this costs. Nothing was charged, and no retry helps without a top-up. */
export class InsufficientCreditsError extends Problem {
  readonly code = 'insufficient_credits';
  constructor(
    readonly requiredMicros: MicroUsd,
    readonly balances: Balances,
  ) {
    super(
      `Insufficient credits: this needs ${formatUsd(requiredMicros)} and ${formatUsd(balances.availableMicros)} is available. ` +
        'Nothing was charged. Top up to go on.',
      { details: limitDetails(requiredMicros, balances, 'wallet'), shouldRetry: false },
    );
  }
}

export class WalletFrozenError extends Problem {
  readonly code = 'wallet_frozen';
  constructor(requiredMicros: MicroUsd, balances: Balances) {
    super('This wallet is frozen, so nothing can be spent from it. Nothing was charged. Contact support.', {
      details: limitDetails(requiredMicros, balances, 'frozen'),
      shouldRetry: false,
    });
  }
}

const LIMIT_NAMES: Readonly<Record<LimitPeriod, string>> = {
  day: 'a day',
  month: 'a month',
  total: 'in total',
};

/** 402: the API key has a spend limit that this would pass. The wallet may hold more than enough. */
export class KeyLimitReachedError extends Problem {
  readonly code = 'key_limit_reached';
  constructor(reached: ReachedLimit, requiredMicros: MicroUsd, balances: Balances) {
    const { period, limitMicros, usedMicros, resetsAtMs } = reached;
    const room = micros(limitMicros > usedMicros ? limitMicros - usedMicros : 0n);
    const until = resetsAtMs === null ? '' : ` wait until ${new Date(resetsAtMs).toISOString()},`;
    super(
      `This API key may spend ${formatUsd(limitMicros)} ${LIMIT_NAMES[period]}: ${formatUsd(usedMicros)} is used, ` +
        `${formatUsd(room)} is left and this needs ${formatUsd(requiredMicros)}. Nothing was charged. ` +
        `Raise the key's spend limit,${until} or use another key.`,
      {
        details: {
          ...limitDetails(requiredMicros, balances, 'key', room),
          limit_period: period,
          limit_micros: formatMicros(limitMicros),
          used_micros: formatMicros(usedMicros),
          resets_at: resetsAtMs === null ? null : resetsAtMs / 1_000,
        },
        shouldRetry: false,
      },
    );
  }
}

export class InvalidAmountError extends Problem {
  readonly code = 'invalid_amount';
  constructor() {
    super('The amount must be a positive whole number of micro-dollars, at most 100000000000000.', {
      param: 'amount_micros',
    });
  }
}

export class AccountNotFoundError extends Problem {
  readonly code = 'resource_missing';
  constructor(accountId: string) {
    super(`No such account: '${accountId}'.`, { param: 'account' });
  }
}

export class HoldNotFoundError extends Problem {
  readonly code = 'resource_missing';
  constructor(holdId: string) {
    super(`No such hold: '${holdId}'.`, { param: 'id' });
  }
}

export class ReferenceConflictError extends Problem {
  readonly code = 'reference_conflict';
  constructor(reference: string) {
    super(
      `The reference '${reference}' was used before with another body. Nothing was charged. ` +
        'Send the first body again to read its result, or choose a new reference.',
      { param: 'reference', shouldRetry: false },
    );
  }
}

export class AmountExceedsHoldError extends Problem {
  readonly code = 'amount_exceeds_hold';
  constructor(holdMicros: MicroUsd) {
    super(`A capture may take at most what was held: ${formatMicros(holdMicros)} micros.`, {
      param: 'amount_micros',
      details: { held_micros: formatMicros(holdMicros) },
    });
  }
}

export class HoldAlreadyResolvedError extends Problem {
  readonly code = 'hold_already_resolved';
  constructor(holdId: string, status: string, capturedMicros: MicroUsd) {
    super(`Hold '${holdId}' is ${status} already; a hold is resolved once.`, {
      details: { hold_status: status, captured_micros: formatMicros(capturedMicros) },
      shouldRetry: false,
    });
  }
}

export class WalletInDebtError extends Problem {
  readonly code = 'wallet_in_debt';
  constructor(uncoveredMicros: MicroUsd) {
    super(
      `The wallet owes ${formatUsd(uncoveredMicros)} and stays frozen until a top-up, write-off or adjustment covers it.`,
      {
        details: { uncovered_micros: formatMicros(uncoveredMicros) },
        shouldRetry: false,
      },
    );
  }
}

/** 409: this call's credit is set aside already, by another attempt at it. Nothing was charged for this one. */
export class OtherAttemptError extends Problem {
  readonly code = 'idempotency_in_progress';
  constructor() {
    super(
      'Another attempt at this call is under way. Nothing was charged for this one. Send it again for its answer.',
      {
        retryAfterSeconds: 1,
      },
    );
  }
}

/**
 * 409: the account has a provider key of its own that serves the call, so the wallet does not pay for it. Callers make the
 * call over that key instead; a customer sees this only while keys are attached and removed again and again.
 */
export class ProviderKeyAttachedError extends Problem {
  readonly code = 'provider_key_attached';
  constructor() {
    super(
      'Your own provider key was attached while this call began. Nothing was charged. Send the call again: it goes over ' +
        'your key.',
      { retryAfterSeconds: 1 },
    );
  }
}

/** 503: more money commands are waiting than the database can take. Nothing was charged. */
export class EngineSaturatedError extends Problem {
  readonly code = 'engine_saturated';
  constructor() {
    super('Too many charges are waiting. Nothing was charged. Retry shortly.', { retryAfterSeconds: 1 });
  }
}

/** 503: something else holds the wallet's lock and does not let go. Other wallets are not affected. */
export class WalletLockedError extends Problem {
  readonly code = 'wallet_locked';
  constructor() {
    super(
      "Another operation has held this wallet's lock for two seconds and is not finished. Nothing was charged. Retry shortly.",
      { retryAfterSeconds: 1 },
    );
  }
}

/** Total by type: a new rejection does not compile until it has an error. */
export function toProblem(rejection: Rejection, command: WalletCommand): Problem {
  switch (rejection.code) {
    case 'invalid_amount':
      return new InvalidAmountError();
    case 'expiry_not_ahead':
      return new InvalidRequestError('expires_at must be in the future.', 'expires_at');
    case 'account_not_found':
      return new AccountNotFoundError(command.accountId);
    case 'hold_not_found':
      return new HoldNotFoundError('holdId' in command ? command.holdId : '');
    case 'reference_conflict':
      return new ReferenceConflictError('reference' in command ? publicReference(command.reference) : '');
    case 'other_attempt':
      return new OtherAttemptError();
    case 'provider_key_attached':
      return new ProviderKeyAttachedError();
    case 'insufficient_credits':
      return new InsufficientCreditsError(rejection.requiredMicros, rejection.balances);
    case 'wallet_frozen':
      return new WalletFrozenError(rejection.requiredMicros, rejection.balances);
    case 'key_limit_reached':
      return new KeyLimitReachedError(rejection, rejection.requiredMicros, rejection.balances);
    case 'amount_exceeds_hold':
      return new AmountExceedsHoldError(rejection.holdMicros);
    case 'wallet_in_debt':
      return new WalletInDebtError(rejection.uncoveredMicros);
  }
}

/** `debit:abc` is how the ledger writes the caller's `abc`. */
function publicReference(reference: string): string {
  return reference.slice(reference.indexOf(':') + 1);
}

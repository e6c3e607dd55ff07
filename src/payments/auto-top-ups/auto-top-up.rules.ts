import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { DAY_MS } from '../../platform/common/clock.js';
import type { CardDecline } from '../stripe/off-session-payments.js';
import type { AutoTopUpTerms, OffReason } from './auto-top-up.js';
import type { AutoTopUpStatus } from './auto-top-up.machine.js';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

/** The shortest wait after a decline that may be retried. A sooner retry is declined again, and issuers count it against the account. */
export const RETRY_AFTER_DECLINE_MS = HOUR_MS;
/** Auto top-up is switched off after this many declines with no payment between them. */
export const DECLINES_MAX = 2;

export type Count = { readonly count: number; readonly cents: bigint };

/** What was charged or may have been charged: every charge that did not certainly fail. */
export type AutoTopUpUsage = {
  /** The charges of the present UTC day and month. */
  readonly day: Count;
  readonly month: Count;
  /** When the last charge that was not withdrawn was started; null before the first one. */
  readonly lastStartedAtMs: number | null;
  /** Declined charges under the present settings since the last charge that was paid. */
  readonly declinesInARow: number;
};

export type CardState = { readonly expMonth: number; readonly expYear: number; readonly attached: boolean };

/** The state of the account that decides whether it may be charged. */
export type AccountState = {
  readonly availableMicros: MicroUsd;
  readonly frozen: boolean;
  readonly disputed: boolean;
};

export type Situation = AccountState & {
  readonly nowMs: number;
  /** Sales tax is due, and only payment pages collect it. */
  readonly taxed: boolean;
  /** What one charge takes from the card; null when the amount is not sold. */
  readonly chargeCents: UsdCents | null;
  readonly card: CardState;
  readonly usage: AutoTopUpUsage;
};

export type WaitReason = 'cooldown' | 'declined' | 'daily_cap' | 'monthly_cap' | 'limits';

export type Decision =
  | { readonly kind: 'charge'; readonly chargeCents: UsdCents }
  /** The card is not charged before that time, and the account is checked again then. */
  | { readonly kind: 'wait'; readonly untilMs: number; readonly why: WaitReason }
  | { readonly kind: 'switch_off'; readonly reason: OffReason }
  /** No check is queued: what ends this state (a change of settings, a debit, the end of a freeze) queues its own. */
  | { readonly kind: 'nothing'; readonly why: 'off' | 'action_required' | 'frozen' | 'disputed' | 'enough' };

/** Conditions under which a card is not charged although auto top-up is on. They end without the customer's doing. */
export const HOLD_BACKS = {
  wallet_frozen: 'the wallet is frozen.',
  payment_disputed: 'a payment of the account is disputed.',
} as const;

export type HoldBack = keyof typeof HOLD_BACKS;

export function findHoldBack({
  frozen,
  disputed,
}: Pick<AccountState, 'frozen' | 'disputed'>): HoldBack | null {
  if (disputed) return 'payment_disputed';
  return frozen ? 'wallet_frozen' : null;
}

/** Decides whether the card is charged now. Nothing else decides it; the database checks the caps once more. */
export function decide(status: AutoTopUpStatus, terms: AutoTopUpTerms, situation: Situation): Decision {
  if (status !== 'on') return { kind: 'nothing', why: status };
  if (situation.frozen) return { kind: 'nothing', why: 'frozen' };
  if (situation.disputed) return { kind: 'nothing', why: 'disputed' };
  if (situation.availableMicros >= terms.thresholdMicros) return { kind: 'nothing', why: 'enough' };
  if (situation.taxed) return { kind: 'switch_off', reason: 'tax_not_collected' };
  const { card, chargeCents, nowMs } = situation;
  if (!card.attached) return { kind: 'switch_off', reason: 'card_removed' };
  if (isExpired(card, nowMs)) return { kind: 'switch_off', reason: 'card_expired' };
  if (chargeCents === null || chargeCents > terms.dailyMaxCents || chargeCents > terms.monthlyMaxCents) {
    return { kind: 'switch_off', reason: 'amount_not_possible' };
  }
  return longestWait(terms, situation.usage, chargeCents, nowMs) ?? { kind: 'charge', chargeCents };
}

/** The part of the present settings that decides how much the card may be charged. */
type Agreed = AutoTopUpTerms & { readonly status: AutoTopUpStatus; readonly cardId: string };

/** Whether new terms let more be charged than the ones in force. The account is notified of that whichever key agreed to them. */
export function allowsMore(before: Agreed, after: AutoTopUpTerms & { readonly cardId: string }): boolean {
  return (
    before.status !== 'on' ||
    before.cardId !== after.cardId ||
    RAISES.some((term) => after[term] > before[term]) ||
    after.cooldownSeconds < before.cooldownSeconds
  );
}

const RAISES = [
  'thresholdMicros',
  'amountCents',
  'dailyMaxCount',
  'dailyMaxCents',
  'monthlyMaxCount',
  'monthlyMaxCents',
] as const satisfies readonly (keyof AutoTopUpTerms)[];

function longestWait(
  terms: AutoTopUpTerms,
  { day, month, lastStartedAtMs, declinesInARow }: AutoTopUpUsage,
  chargeCents: UsdCents,
  nowMs: number,
): Decision | null {
  const waits: { untilMs: number; why: WaitReason }[] = [];
  if (lastStartedAtMs !== null) {
    waits.push({ untilMs: lastStartedAtMs + terms.cooldownSeconds * SECOND_MS, why: 'cooldown' });
    if (declinesInARow > 0)
      waits.push({ untilMs: lastStartedAtMs + RETRY_AFTER_DECLINE_MS, why: 'declined' });
  }
  if (day.count >= terms.dailyMaxCount || day.cents + chargeCents > terms.dailyMaxCents) {
    waits.push({ untilMs: dayStartMs(nowMs) + DAY_MS, why: 'daily_cap' });
  }
  if (month.count >= terms.monthlyMaxCount || month.cents + chargeCents > terms.monthlyMaxCents) {
    waits.push({ untilMs: nextMonthStartMs(nowMs), why: 'monthly_cap' });
  }
  const pending = waits.filter(({ untilMs }) => untilMs > nowMs).sort((a, b) => b.untilMs - a.untilMs);
  const [longest] = pending;
  return longest === undefined ? null : { kind: 'wait', ...longest };
}

/** A card is valid to the end of its month. That month has ended everywhere on earth twelve hours after it ends in UTC. */
export function isExpired({ expMonth, expYear }: CardState, nowMs: number): boolean {
  return nowMs >= Date.UTC(expYear, expMonth, 1) + DAY_MS / 2;
}

export function dayStartMs(nowMs: number): number {
  return nowMs - (nowMs % DAY_MS);
}

export function monthStartMs(nowMs: number): number {
  const now = new Date(nowMs);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1);
}

function nextMonthStartMs(nowMs: number): number {
  const now = new Date(nowMs);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
}

export type Reaction =
  /** The card is charged again later. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'action_required' }
  | { readonly kind: 'switch_off'; readonly reason: OffReason };

const NEEDS_CUSTOMER: ReadonlySet<string> = new Set([
  'authentication_required',
  'authentication_not_handled',
  'payment_intent_authentication_failure',
]);

/**
 * Decides what follows a decline. Card networks fine merchants who retry against their advice, so a charge is retried
 * only on `try_again_later` or without any advice. `null` is a payment that ended without a reason.
 *
 * @param declinesInARow including this one.
 */
export function reactTo(decline: CardDecline | null, declinesInARow: number): Reaction {
  const { code, declineCode, adviceCode } = decline ?? { code: '', declineCode: null, adviceCode: null };
  if (NEEDS_CUSTOMER.has(code) || NEEDS_CUSTOMER.has(declineCode ?? '')) return { kind: 'action_required' };
  if (code === 'expired_card' || declineCode === 'expired_card') {
    return { kind: 'switch_off', reason: 'card_expired' };
  }
  if (adviceCode === 'do_not_try_again' || adviceCode === 'confirm_card_data') {
    return { kind: 'switch_off', reason: 'card_refused' };
  }
  if (declinesInARow >= DECLINES_MAX) return { kind: 'switch_off', reason: 'payments_failed' };
  return { kind: 'retry' };
}

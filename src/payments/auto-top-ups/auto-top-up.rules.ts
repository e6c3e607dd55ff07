import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { DAY_MS } from '../../platform/common/utc-time.js';
import type { CardDecline } from '../stripe/off-session-payments.js';
import type { AutoTopUpTerms, OffReason } from './auto-top-up.js';
import type { AutoTopUpStatus } from './auto-top-up.machine.js';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

/** After a decline that may be retried: sooner, the issuer says the same and counts it against the account. */
export const RETRY_AFTER_DECLINE_MS = HOUR_MS;
/** So many declines with no payment between them end it. */
export const DECLINES_MAX = 2;

export type Count = { readonly count: number; readonly cents: bigint };

/** What was charged, or may have been: everything that did not certainly fail. */
export type AutoTopUpUsage = {
  /** Of the UTC day and month of the moment. */
  readonly day: Count;
  readonly month: Count;
  /** Of the last charge that was not withdrawn; null before the first. */
  readonly lastStartedAtMs: number | null;
  /** Declined ones since the last that was paid, and since it was switched on. */
  readonly declinesInARow: number;
};

export type CardState = { readonly expMonth: number; readonly expYear: number; readonly attached: boolean };

/** What is known of the account itself. */
export type AccountState = {
  readonly availableMicros: MicroUsd;
  readonly frozen: boolean;
  readonly disputed: boolean;
};

export type Situation = AccountState & {
  readonly nowMs: number;
  /** Sales tax is due, which only payment pages collect. */
  readonly taxed: boolean;
  /** What one charge takes from the card; null when the amount is not sold. */
  readonly chargeCents: UsdCents | null;
  readonly card: CardState;
  readonly usage: AutoTopUpUsage;
};

export type WaitReason = 'cooldown' | 'declined' | 'daily_cap' | 'monthly_cap' | 'limits';

export type Decision =
  | { readonly kind: 'charge'; readonly chargeCents: UsdCents }
  /** Not before; to be looked at again then. */
  | { readonly kind: 'wait'; readonly untilMs: number; readonly why: WaitReason }
  | { readonly kind: 'switch_off'; readonly reason: OffReason }
  /** Whatever ends this makes itself known: a change of settings, a debit, a unfreeze. */
  | { readonly kind: 'nothing'; readonly why: 'off' | 'action_required' | 'frozen' | 'disputed' | 'enough' };

/** What keeps a card from being charged although auto top-up is on, until it ends by itself. */
export const HOLD_BACKS = {
  wallet_frozen: 'the wallet is frozen.',
  payment_disputed: 'a payment of the account is disputed.',
} as const;

export type HoldBack = keyof typeof HOLD_BACKS;

export function holdBackOf({ frozen, disputed }: Pick<AccountState, 'frozen' | 'disputed'>): HoldBack | null {
  if (disputed) return 'payment_disputed';
  return frozen ? 'wallet_frozen' : null;
}

/** Whether the card is charged now. The only place that decides it; the database checks the caps once more. */
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

/** What an account has agreed to until now, as far as it decides what its card may be charged. */
type Agreed = AutoTopUpTerms & { readonly status: AutoTopUpStatus; readonly cardId: string };

/** Whether new terms let more be charged than the ones in force: the account is told of that, whoever agreed to them. */
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
  const ahead = waits.filter(({ untilMs }) => untilMs > nowMs).sort((a, b) => b.untilMs - a.untilMs);
  const [longest] = ahead;
  return longest === undefined ? null : { kind: 'wait', ...longest };
}

/** A card is good to the end of its month; everywhere on earth that is over twelve hours after UTC's. */
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
  /** Another charge of the card, later. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'action_required' }
  | { readonly kind: 'switch_off'; readonly reason: OffReason };

const NEEDS_CUSTOMER: ReadonlySet<string> = new Set([
  'authentication_required',
  'authentication_not_handled',
  'payment_intent_authentication_failure',
]);

/**
 * What a decline leads to. Networks fine who retries against their advice: only `try_again_later`, or no advice at
 * all, is retried. `null` is a payment that ended without a word of why.
 *
 * @param declinesInARow with this one.
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

import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import type { AutoTopUpStatus } from './auto-top-up.machine.js';

/** Why nothing is charged automatically, for the customer and for support. */
export const OFF_REASONS = {
  never_enabled: 'The account never switched it on.',
  switched_off: 'The account switched it off.',
  payments_failed: 'Two charges in a row were declined.',
  card_refused: 'The bank refused the card permanently, or its data are wrong.',
  card_expired: 'The card is past its expiry.',
  card_removed: 'The card is not saved any more.',
  authentication_required:
    'The bank asked the customer to confirm the payment, and they did not confirm in time. Nothing was charged.',
  tax_not_collected:
    'Sales tax is collected on payment pages only, so the card cannot be charged automatically.',
  amount_not_possible: 'The amount is not sold any more, or one charge alone would exceed a cap.',
} as const satisfies Record<string, string>;

export type OffReason = keyof typeof OFF_REASONS;

/** What the account agreed to. The money caps limit what all charges of a UTC day or month may take from the card. */
export type AutoTopUpTerms = {
  /** Available credit below this is topped up. */
  readonly thresholdMicros: MicroUsd;
  /** As in a top-up, this is the credit in mode `on_top` and the charge in mode `deducted`. */
  readonly amountCents: UsdCents;
  readonly dailyMaxCount: number;
  readonly dailyMaxCents: UsdCents;
  readonly monthlyMaxCount: number;
  readonly monthlyMaxCents: UsdCents;
  /** The shortest time from the start of one charge to the start of the next. */
  readonly cooldownSeconds: number;
};

/** The settings of an account that switched it on at least once. */
export type AutoTopUp = AutoTopUpTerms & {
  readonly accountId: string;
  readonly livemode: boolean;
  readonly status: AutoTopUpStatus;
  readonly offReason: OffReason | null;
  /** Grows by one each time the account switches it on or changes the terms. */
  readonly revision: number;
  readonly cardId: string;
  readonly switchedOnAt: Date;
  readonly updatedAt: Date;
  /** The charge that the customer has to confirm; null when there is none. */
  readonly failedTopUpId: string | null;
  /** The payment page that was opened instead of that charge. */
  readonly actionTopUpId: string | null;
};

/** Stored on every charge: it names the revision of the settings under which the charge was started. */
export function chargeFingerprint({ revision }: Pick<AutoTopUp, 'revision'>): string {
  return `auto:${revision}`;
}

export type AutoTopUpConsent = AutoTopUpTerms & {
  readonly accountId: string;
  readonly livemode: boolean;
  readonly revision: number;
  readonly version: string;
  readonly agreedBy: string;
  readonly clientAddress: string;
  readonly agreedAt: Date;
  readonly cardId: string;
};

export type SavedCard = {
  readonly accountId: string;
  readonly id: string;
  readonly livemode: boolean;
  readonly customerId: string;
  readonly brand: string;
  readonly last4: string;
  readonly expMonth: number;
  readonly expYear: number;
  readonly topUpId: string;
  readonly consentVersion: string;
  readonly consentAddress: string | null;
  readonly consentedBy: string;
  readonly consentedAt: Date;
  readonly detachedAt: Date | null;
};

/** The text that the customer agrees to. A changed text needs a new version, because consents name the version. */
export const AUTO_TOP_UP_WORDS = {
  version: '2026-11-22',
  text:
    'I agree that my saved card is charged without asking me again, whenever the available credit falls below the ' +
    'threshold that I set, with the amount that I set and the platform fee, within the caps that I set. I can switch ' +
    'this off at any time; a charge that is under way then is completed.',
} as const;

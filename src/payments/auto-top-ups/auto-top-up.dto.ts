import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import {
  BooleanField,
  IntegerField,
  MicroUsdField,
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
} from '../../platform/common/fields.js';
import { cents, formatMicros, micros, type UsdCents } from '../../platform/common/money.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { CHARGE_MAX_CENTS } from '../top-ups/quote.js';
import { TopUpView, toTopUpView } from '../top-ups/top-up.dto.js';
import type { TopUp } from '../top-ups/top-up.js';
import type { AutoTopUpState, OptIn } from './auto-top-up-settings.service.js';
import { HOLD_BACKS, type HoldBack } from './auto-top-up.rules.js';
import { SavedCardView, toSavedCardView } from './saved-card.dto.js';
import { AUTO_TOP_UP_STATUSES, type AutoTopUpStatus } from './auto-top-up.machine.js';
import { AUTO_TOP_UP_WORDS, OFF_REASONS, type AutoTopUpConsent, type OffReason } from './auto-top-up.js';

const COOLDOWN_DEFAULT_SECONDS = 300;
const COOLDOWN_MIN_SECONDS = 60;
const COOLDOWN_MAX_SECONDS = 86_400;
const DAILY_COUNT_DEFAULT = 3;
const DAILY_COUNT_MAX = 100;
const MONTHLY_COUNT_DEFAULT = 30;
const MONTHLY_COUNT_MAX = 1_000;
/** A hundred million dollars is more than any card pays, and fits every column. */
const CAP_MAX_CENTS = 10_000_000_000;

export class AutoTopUpRequest {
  @BooleanField({
    description:
      '`true` needs `threshold_micros`, `credit_cents`, both money caps and `words_version`. `false` switches it off ' +
      'and keeps the rest.',
    example: true,
  })
  declare readonly enabled: boolean;

  @MicroUsdField({
    description: 'Available credit below this is topped up.',
    optional: true,
    example: '5000000',
  })
  declare readonly threshold_micros?: string | null;

  @IntegerField({
    description: 'What each top-up buys, in whole US cents, as in `POST /v1/top_ups`.',
    optional: true,
    min: 1,
    max: Number(CHARGE_MAX_CENTS),
    example: 2_000,
  })
  declare readonly credit_cents?: number | null;

  @IntegerField({
    description: `Charges in a UTC day; ${DAILY_COUNT_DEFAULT} when absent.`,
    optional: true,
    min: 1,
    max: DAILY_COUNT_MAX,
    example: DAILY_COUNT_DEFAULT,
  })
  declare readonly daily_max_count?: number | null;

  @IntegerField({
    description: 'The most that the card pays in a UTC day, fees included, in cents.',
    optional: true,
    min: 1,
    max: CAP_MAX_CENTS,
    example: 6_300,
  })
  declare readonly daily_max_charge_cents?: number | null;

  @IntegerField({
    description: `Charges in a UTC month; ${MONTHLY_COUNT_DEFAULT} when absent.`,
    optional: true,
    min: 1,
    max: MONTHLY_COUNT_MAX,
    example: MONTHLY_COUNT_DEFAULT,
  })
  declare readonly monthly_max_count?: number | null;

  @IntegerField({
    description: 'The most that the card pays in a UTC month, fees included, in cents.',
    optional: true,
    min: 1,
    max: CAP_MAX_CENTS,
    example: 30_000,
  })
  declare readonly monthly_max_charge_cents?: number | null;

  @IntegerField({
    description: `Seconds from one charge to the next, at least; ${COOLDOWN_DEFAULT_SECONDS} when absent.`,
    optional: true,
    min: COOLDOWN_MIN_SECONDS,
    max: COOLDOWN_MAX_SECONDS,
    example: COOLDOWN_DEFAULT_SECONDS,
  })
  declare readonly cooldown_seconds?: number | null;

  @TextField({
    description:
      `The version of the words that the customer agreed to, \`${AUTO_TOP_UP_WORDS.version}\`: ` +
      `"${AUTO_TOP_UP_WORDS.text}" It is recorded with the time, the key and the network address.`,
    optional: true,
    max: 40,
    example: AUTO_TOP_UP_WORDS.version,
  })
  declare readonly words_version?: string | null;
}

/** Throws `InvalidRequestError` for the first field that is missing. */
export function toOptIn(body: AutoTopUpRequest): OptIn {
  return {
    thresholdMicros: micros(BigInt(requireField(body, 'threshold_micros'))),
    amountCents: toCents(requireField(body, 'credit_cents')),
    dailyMaxCount: body.daily_max_count ?? DAILY_COUNT_DEFAULT,
    dailyMaxCents: toCents(requireField(body, 'daily_max_charge_cents')),
    monthlyMaxCount: body.monthly_max_count ?? MONTHLY_COUNT_DEFAULT,
    monthlyMaxCents: toCents(requireField(body, 'monthly_max_charge_cents')),
    cooldownSeconds: body.cooldown_seconds ?? COOLDOWN_DEFAULT_SECONDS,
    wordsVersion: requireField(body, 'words_version'),
  };
}

function requireField<Name extends keyof AutoTopUpRequest>(
  body: AutoTopUpRequest,
  name: Name,
): NonNullable<AutoTopUpRequest[Name]> {
  const value = body[name];
  if (value == null) {
    throw new InvalidRequestError(`${name} is needed to switch auto top-up on. Nothing was changed.`, name);
  }
  return value;
}

const toCents = (amount: number): UsdCents => cents(BigInt(amount));

export class AutoTopUpConsentView {
  @ApiProperty({
    description: 'The version of the text that was agreed to.',
    example: AUTO_TOP_UP_WORDS.version,
  })
  declare readonly words_version: string;
  @TimeView('When the customer agreed, in Unix seconds.')
  declare readonly agreed_at: number;
  @ApiProperty({ description: 'The key that agreed.', example: 'account_key:key_01KB2H7Q0000000000000000AA' })
  declare readonly agreed_by: string;
  @ApiProperty({ description: 'The network address that it came from.', example: '203.0.113.7' })
  declare readonly client_address: string;
}

export class AutoTopUpWordsView {
  @ApiProperty({ description: 'Sent as `words_version`.', example: AUTO_TOP_UP_WORDS.version })
  declare readonly version: string;
  @ApiProperty({ description: 'The text to show to the customer.', example: AUTO_TOP_UP_WORDS.text })
  declare readonly text: string;
}

const Nullable = (description: string, example: unknown, type: 'integer' | 'string' = 'integer') =>
  ApiProperty({ description, type, nullable: true, example });

export class AutoTopUpView {
  @ObjectTypeView('auto_top_up')
  declare readonly object: 'auto_top_up';
  @ApiProperty({
    description:
      '`on` charges the card when credit runs low. `action_required`: the bank wants the customer to confirm; ' +
      'they pay at `action_url`, and it is `on` again. `off`: see `off_reason`.',
    enum: AUTO_TOP_UP_STATUSES,
    example: 'on',
  })
  declare readonly status: AutoTopUpStatus;
  @ApiProperty({
    description: Object.entries(OFF_REASONS)
      .map(([reason, meaning]) => `\`${reason}\`: ${meaning}`)
      .join(' '),
    enum: Object.keys(OFF_REASONS),
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly off_reason: OffReason | null;
  @ApiProperty({
    description:
      'Why nothing is charged although it is `on`. ' +
      Object.entries(HOLD_BACKS)
        .map(([reason, meaning]) => `\`${reason}\`: ${meaning}`)
        .join(' '),
    enum: Object.keys(HOLD_BACKS),
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly held_back_by: HoldBack | null;
  @ApiProperty({
    description: 'Where the customer pays what could not be charged.',
    type: 'string',
    format: 'uri',
    nullable: true,
    example: null,
  })
  declare readonly action_url: string | null;
  @Nullable('Available credit below this is topped up, in micro-USD.', '5000000', 'string')
  declare readonly threshold_micros: string | null;
  @Nullable('What each top-up buys, in cents.', 2_000)
  declare readonly credit_cents: number | null;
  @Nullable('What each top-up takes from the card, in cents, at the present fee.', 2_100)
  declare readonly charge_cents: number | null;
  @Nullable('Charges in a UTC day, at most.', 3)
  declare readonly daily_max_count: number | null;
  @Nullable('Cents from the card in a UTC day, at most.', 6_300)
  declare readonly daily_max_charge_cents: number | null;
  @Nullable('Charges in a UTC month, at most.', 30)
  declare readonly monthly_max_count: number | null;
  @Nullable('Cents from the card in a UTC month, at most.', 30_000)
  declare readonly monthly_max_charge_cents: number | null;
  @Nullable('Seconds from one charge to the next, at least.', 300)
  declare readonly cooldown_seconds: number | null;
  @ApiProperty({ description: 'Charges of this UTC day so far.', type: 'integer', example: 1 })
  declare readonly daily_count: number;
  @MicroUsdView('What they took from the card.', '21000000')
  declare readonly daily_charged_micros: string;
  @ApiProperty({ description: 'Charges of this UTC month so far.', type: 'integer', example: 4 })
  declare readonly monthly_count: number;
  @MicroUsdView('What they took from the card.', '84000000')
  declare readonly monthly_charged_micros: string;
  @ApiProperty({
    description: 'The card that is charged; before it is switched on, the one that would be.',
    type: () => SavedCardView,
    nullable: true,
  })
  declare readonly card: SavedCardView | null;
  @ApiProperty({ description: 'The last opt-in.', type: () => AutoTopUpConsentView, nullable: true })
  declare readonly consent: AutoTopUpConsentView | null;
  @ApiProperty({ description: 'What an opt-in agrees to.', type: () => AutoTopUpWordsView })
  declare readonly words: AutoTopUpWordsView;
  @ApiProperty({
    description:
      'A charge that is under way. One that went out before `enabled: false` was answered cannot be recalled.',
    type: () => TopUpView,
    nullable: true,
  })
  declare readonly in_flight: TopUpView | null;
  @ApiProperty({ description: 'The last charge that failed.', type: () => TopUpView, nullable: true })
  declare readonly last_failure: TopUpView | null;
  @ApiProperty({ description: 'False for play money.', example: true })
  declare readonly livemode: boolean;
}

export function toAutoTopUpView(state: AutoTopUpState): AutoTopUpView {
  const { current, usage, actionPage } = state;
  const toMicros = (amountCents: bigint | undefined): string =>
    formatMicros(micros((amountCents ?? 0n) * 10_000n));
  return {
    object: 'auto_top_up',
    status: current?.status ?? 'off',
    off_reason: current === null ? 'never_enabled' : current.offReason,
    held_back_by: state.heldBackBy,
    action_url: actionPage?.status === 'pending' ? actionPage.checkoutUrl : null,
    threshold_micros: current === null ? null : formatMicros(current.thresholdMicros),
    credit_cents: toNumber(current?.amountCents),
    charge_cents: toNumber(state.chargeCents ?? undefined),
    daily_max_count: current?.dailyMaxCount ?? null,
    daily_max_charge_cents: toNumber(current?.dailyMaxCents),
    monthly_max_count: current?.monthlyMaxCount ?? null,
    monthly_max_charge_cents: toNumber(current?.monthlyMaxCents),
    cooldown_seconds: current?.cooldownSeconds ?? null,
    daily_count: usage?.day.count ?? 0,
    daily_charged_micros: toMicros(usage?.day.cents),
    monthly_count: usage?.month.count ?? 0,
    monthly_charged_micros: toMicros(usage?.month.cents),
    card: state.card === null ? null : toSavedCardView(state.card),
    consent: state.consent === null ? null : toConsentView(state.consent),
    words: AUTO_TOP_UP_WORDS,
    in_flight: toView(state.inFlight),
    last_failure: toView(state.lastFailure),
    livemode: state.livemode,
  };
}

/** Caps are below 2^53, so they are exact as numbers. */
const toNumber = (amount: bigint | undefined): number | null =>
  amount === undefined ? null : Number(amount);

const toView = (topUp: TopUp | null): TopUpView | null => (topUp === null ? null : toTopUpView(topUp));

function toConsentView(consent: AutoTopUpConsent): AutoTopUpConsentView {
  return {
    words_version: consent.version,
    agreed_at: toUnixSeconds(consent.agreedAt),
    agreed_by: consent.agreedBy,
    client_address: consent.clientAddress,
  };
}

import { Inject, Injectable, Logger } from '@nestjs/common';
import { newId } from '../../platform/common/ids.js';
import { ZERO } from '../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
} from '../top-ups/top-up.errors.js';
import { TopUpLimitsService } from '../top-ups/limits/top-up-limits.service.js';
import { quoteTopUp, type TopUpQuote } from '../top-ups/quote.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import { chargeFingerprint, type AutoTopUp, type OffReason, type SavedCard } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { decide, type AccountState, type Decision } from './auto-top-up.rules.js';

/** Stripe forgets an idempotency key after a day, so the request is not repeated after this much shorter time. */
const KEY_TTL_MS = 20 * 3_600_000;
const SECOND_MS = 1_000;
const DAY_MS = 24 * 3_600_000;

/** The actor recorded on charges that no caller asked for at that moment. */
export const AUTO_TOP_UP_ACTOR = 'auto_top_up';

/** What one attempt to start a charge led to. Its row is written only for `charge`. */
type StartOutcome =
  | { readonly kind: 'charge'; readonly topUp: TopUp }
  | Exclude<Decision, { readonly kind: 'charge' }>
  /** The limits on payments refuse it until then. */
  | { readonly kind: 'limited'; readonly retryAt: Date; readonly message: string }
  /** The settings changed after they were read. That change has queued its own check. */
  | { readonly kind: 'stale' };

/** Decides whether a charge is due and writes its row if it is, in one tx under the lock of the account's settings. */
@Injectable()
export class AutoTopUpStartsService {
  private readonly logger = new Logger(AutoTopUpStartsService.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly limits: TopUpLimitsService,
    private readonly switches: AutoTopUpSwitchService,
  ) {}

  /**
   * Returns the row of the charge, or null when none is due; then the next check is queued where one is needed. Throws
   * a violation of `top_ups_auto_in_flight_key` while another charge is under way, and what the database throws.
   */
  async start(seen: AutoTopUp, state: AccountState): Promise<TopUp | null> {
    const { accountId } = seen;
    const outcome = await this.attemptStart(seen, state);
    switch (outcome.kind) {
      case 'charge':
        return outcome.topUp;
      case 'wait':
        await this.switches.recheck(null, accountId, new Date(outcome.untilMs));
        return null;
      case 'limited':
        this.logger.warn(
          {
            event: 'auto_top_up.limited',
            account: accountId,
            retryAt: outcome.retryAt,
            reason: outcome.message,
          },
          'The limits on payments refuse an auto top-up for now; it is checked again later',
        );
        await this.switches.recheck(null, accountId, outcome.retryAt);
        return null;
      case 'switch_off':
        await this.switchOff(seen, outcome.reason);
        return null;
      case 'nothing':
      case 'stale':
        return null;
    }
  }

  private async attemptStart(seen: AutoTopUp, state: AccountState): Promise<StartOutcome> {
    const { accountId, livemode } = seen;
    const card = await this.repository.card(accountId, seen.cardId);
    if (card === null) throw new Error(`${accountId} has no card ${seen.cardId}`);
    const quote = quoteTopUp(seen.amountCents, this.settings.topUp);
    const now = new Date(await this.clock.nowMs());
    const attempt = async (tx: Tx): Promise<StartOutcome> => {
      await this.limits.lock(tx, { accountId, clientAddress: null });
      const current = await this.repository.lock(tx, accountId, livemode);
      if (!isUnchanged(current, seen)) return { kind: 'stale' };
      const decision = await this.decide(tx, current, card, quote, state);
      if (decision.kind !== 'charge') return decision;
      if (quote === null) return { kind: 'switch_off', reason: 'amount_not_possible' };
      const topUp = this.newTopUp(seen, card, quote, now);
      await this.topUps.insert(topUp, tx);
      // A refusal by the limits is thrown, because it has to take back the row.
      await this.limits.assertAllowed(tx, topUp);
      return { kind: 'charge', topUp };
    };
    try {
      return await this.transactions.run(attempt, { kind: 'account_key', accountId });
    } catch (error) {
      const outcome = toLimitedOutcome(error, await this.clock.nowMs());
      if (outcome === null) throw error;
      return outcome;
    }
  }

  private async decide(
    tx: Tx,
    current: AutoTopUp,
    card: SavedCard,
    quote: TopUpQuote | null,
    state: AccountState,
  ): Promise<Decision> {
    const nowMs = await this.clock.nowMs(tx);
    return decide(current.status, current, {
      nowMs,
      ...state,
      taxed: this.settings.stripeTax,
      chargeCents: quote?.chargeCents ?? null,
      card: { expMonth: card.expMonth, expYear: card.expYear, attached: card.detachedAt === null },
      usage: await this.repository.usage(tx, current, nowMs),
    });
  }

  private async switchOff(seen: AutoTopUp, reason: OffReason): Promise<void> {
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, seen.accountId, seen.livemode);
      if (isUnchanged(current, seen)) await this.switches.turnOff(tx, current, reason);
    });
  }

  private newTopUp(current: AutoTopUp, card: SavedCard, quote: TopUpQuote, now: Date): TopUp {
    return {
      id: newId('topUp'),
      accountId: current.accountId,
      kind: 'auto',
      status: 'created',
      creditMicros: quote.creditMicros,
      feeMicros: quote.feeMicros,
      chargeCents: quote.chargeCents,
      feeMode: quote.feeMode,
      feeBps: quote.feeBps,
      livemode: this.gateway.livemode,
      lotId: newId('creditLot'),
      saveCard: false,
      successUrl: '',
      cancelUrl: '',
      expiresAt: new Date(now.getTime() + KEY_TTL_MS),
      customerId: card.customerId,
      checkoutSessionId: null,
      checkoutUrl: null,
      paymentIntentId: null,
      paymentMethodId: card.id,
      dispatchedAt: null,
      failureCode: null,
      declineCode: null,
      idempotencyKey: null,
      clientAddress: null,
      fingerprint: chargeFingerprint(current),
      createdBy: AUTO_TOP_UP_ACTOR,
      createdAt: now,
      checkedAt: now,
      paidAt: null,
      // Stripe adds tax to payment pages only.
      automaticTax: false,
      taxMicros: ZERO,
      invoiceUrl: null,
      receiptUrl: null,
    };
  }
}

/** Whether the settings are still the ones that were read before the lock was taken. */
function isUnchanged(current: AutoTopUp | null, seen: AutoTopUp): current is AutoTopUp {
  return current?.revision === seen.revision && current.cardId === seen.cardId;
}

/** The outcome for a refusal by the limits on payments; null for every other error. */
function toLimitedOutcome(error: unknown, nowMs: number): StartOutcome | null {
  if (
    !(error instanceof FirstTopUpLimitError) &&
    !(error instanceof TooManyFailedPaymentsError) &&
    !(error instanceof TooManyTopUpsError)
  ) {
    return null;
  }
  const { retry_at: retryAt, ends_at: endsAt } = error.details;
  const atMs = Number(retryAt ?? endsAt ?? 0) * SECOND_MS;
  return {
    kind: 'limited',
    retryAt: new Date(atMs > nowMs ? atMs : nowMs + DAY_MS),
    message: error.message,
  };
}

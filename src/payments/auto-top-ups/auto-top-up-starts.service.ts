import { Inject, Injectable, Logger } from '@nestjs/common';
import { newId } from '../../platform/common/ids.js';
import { ZERO } from '../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/database-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
} from '../top-ups/limits/limit.errors.js';
import { TopUpLimits } from '../top-ups/limits/top-up-limits.service.js';
import { quoteTopUp, type TopUpQuote } from '../top-ups/quote.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpSwitch } from './auto-top-up-switch.service.js';
import { fingerprintOf, type AutoTopUp, type SavedCard } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { decide, type AccountState, type Decision } from './auto-top-up.rules.js';

/** Stripe forgets an idempotency key after a day; well before that the request is repeated no more. */
const KEY_TTL_MS = 20 * 3_600_000;
const SECOND_MS = 1_000;
const DAY_MS = 24 * 3_600_000;

/** The actor on what nobody asked for at the moment. */
export const AUTO_TOP_UP_ACTOR = 'auto_top_up';

/** Under the lock of the account's settings it was decided otherwise; nothing is written. */
class NotNow extends Error {
  constructor(
    readonly decision: Exclude<Decision, { kind: 'charge' }>,
    readonly current: AutoTopUp | null,
  ) {
    super(`no auto top-up now: ${decision.kind}`);
  }
}

/** Decides whether a charge is due, and writes its row if it is: one tx, under the lock of the account's settings. */
@Injectable()
export class AutoTopUpStarts {
  private readonly logger = new Logger(AutoTopUpStarts.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly limits: TopUpLimits,
    private readonly switches: AutoTopUpSwitch,
  ) {}

  /**
   * The row of the charge; null when none is due. Throws a violation of `top_ups_auto_in_flight_key` while another one
   * is under way, and what the database throws.
   */
  async start(seen: AutoTopUp, state: AccountState): Promise<TopUp | null> {
    const card = await this.repository.card(seen.accountId, seen.cardId);
    const quote = quoteTopUp(seen.amountCents, this.settings.topUp);
    if (card === null) throw new Error(`${seen.accountId} has no card ${seen.cardId}`);
    const topUp =
      quote === null ? null : this.newTopUp(seen, card, quote, new Date(await this.clock.nowMs()));
    const write = async (tx: Tx): Promise<void> => {
      const current = await this.repository.lock(tx, seen.accountId, seen.livemode);
      // Said anew in this moment: what was said queued a look of its own.
      if (current?.revision !== seen.revision || current.cardId !== seen.cardId) {
        throw new NotNow({ kind: 'nothing', why: 'off' }, current);
      }
      const decision = await this.decide(tx, current, card, quote, state);
      if (decision.kind !== 'charge' || topUp === null) throw new NotNow(otherwise(decision), current);
      await this.topUps.insert(topUp, tx);
    };
    try {
      if (topUp === null) await this.transactions.run(write);
      else await this.limits.admit(topUp, write);
      return topUp;
    } catch (error) {
      await this.heed(seen, error);
      return null;
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

  /** Acts on why there is no charge now. Throws what is no such reason. */
  private async heed(seen: AutoTopUp, error: unknown): Promise<void> {
    const { accountId } = seen;
    if (!(error instanceof NotNow)) {
      const retryAt = limitEnd(error, await this.clock.nowMs());
      if (retryAt === null) throw error;
      this.logger.warn(`No auto top-up for ${accountId}: ${(error as Error).message}`);
      return this.switches.recheck(null, accountId, retryAt);
    }
    const { decision } = error;
    if (decision.kind === 'wait') {
      return this.switches.recheck(null, accountId, new Date(decision.untilMs));
    }
    if (decision.kind !== 'switch_off') return;
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, seen.livemode);
      if (current?.revision !== seen.revision || current.cardId !== seen.cardId) return;
      await this.switches.turnOff(tx, current, decision.reason);
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
      fingerprint: fingerprintOf(current),
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

function otherwise(decision: Decision): Exclude<Decision, { kind: 'charge' }> {
  return decision.kind === 'charge' ? { kind: 'switch_off', reason: 'amount_not_possible' } : decision;
}

/** When the limits on payments let the account buy again; null when it is not they that refuse. */
function limitEnd(error: unknown, nowMs: number): Date | null {
  const isLimit = [FirstTopUpLimitError, TooManyFailedPaymentsError, TooManyTopUpsError].some(
    (limit) => error instanceof limit,
  );
  if (!isLimit) return null;
  const { retry_at: retryAt, ends_at: endsAt } = (error as FirstTopUpLimitError).details;
  const atMs = Number(retryAt ?? endsAt ?? 0) * SECOND_MS;
  return new Date(atMs > nowMs ? atMs : nowMs + DAY_MS);
}

import { hash } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { addressGroup } from '../../platform/common/address-group.js';
import { newId } from '../../platform/common/ids.js';
import { cents, ZERO } from '../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/database-clock.js';
import { isUniqueViolation } from '../../platform/database/constraints.js';
import {
  PAYMENT_GATEWAY,
  type CheckoutSession,
  type Payer,
  type PaymentGateway,
} from '../stripe/payment-gateway.js';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from '../stripe/payments.errors.js';
import { StripeCustomers } from '../stripe/stripe-customers.service.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { checkoutPageOf } from './checkout-page.js';
import { TopUpLimits } from './limits/top-up-limits.service.js';
import { quoteTopUp } from './quote.js';
import { AmountOutOfRangeError, CheckoutRefusedError, IdempotencyKeyReusedError } from './top-up.errors.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

export type NewTopUp = {
  readonly accountId: string;
  readonly actor: string;
  /** In mode `on_top` the credit, in mode `deducted` the charge; see `quote.ts`. */
  readonly amountCents: number;
  readonly saveCard: boolean;
  readonly successUrl: string | null;
  readonly cancelUrl: string | null;
  readonly idempotencyKey: string | null;
  /** The network address that asks, as the limits count it; null when the service itself asks for an account. */
  readonly clientAddress: string | null;
};

export type StartedTopUp = { readonly topUp: TopUp; readonly replayed: boolean };

/**
 * How long the payment page is open. Stripe takes no less than 30 minutes from its own now; an hour leaves
 * time to ask again after an outage.
 */
const CHECKOUT_TTL_MS = 60 * 60_000;

/** Opens payment pages. The row is written first: whatever Stripe did is found again by its id. */
@Injectable()
export class TopUpCheckout {
  private readonly logger = new Logger(TopUpCheckout.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly accounts: AccountsService,
    private readonly customers: StripeCustomers,
    private readonly topUps: TopUpRepository,
    private readonly limits: TopUpLimits,
  ) {}

  /**
   * A top-up with an open payment page. The same idempotency key and request find the same top-up again.
   * Throws `AmountOutOfRangeError`, `IdempotencyKeyReusedError`, what the `TopUpLimits` throw, or
   * `PaymentsUnavailableError` (then the same key goes on where this attempt ended).
   */
  async start(request: NewTopUp): Promise<StartedTopUp> {
    const fresh = this.newTopUp(request, new Date(await this.clock.nowMs()));
    const known = await this.findKnown(fresh);
    if (known !== null) return { topUp: await this.open(known), replayed: true };
    if (await this.insert(fresh)) return { topUp: await this.open(fresh), replayed: false };
    // Another request with this key came first, a moment ago.
    const winner = await this.findKnown(fresh);
    if (winner === null) throw new Error(`the idempotency key of ${fresh.id} is taken by nobody`);
    return { topUp: await this.open(winner), replayed: true };
  }

  /** False when the account used the idempotency key before; then nothing is written. */
  private async insert(topUp: TopUp): Promise<boolean> {
    try {
      await this.limits.admit(topUp, (tx) => this.topUps.insert(topUp, tx));
      return true;
    } catch (error) {
      if (isUniqueViolation(error, 'top_ups_idempotency_key_key')) return false;
      throw error;
    }
  }

  private newTopUp(request: NewTopUp, now: Date): TopUp {
    const quote = quoteTopUp(cents(BigInt(request.amountCents)), this.settings.topUp);
    if (quote === null) throw new AmountOutOfRangeError(this.settings.topUp);
    const id = newId('topUp');
    return {
      id,
      accountId: request.accountId,
      kind: 'checkout',
      status: 'created',
      creditMicros: quote.creditMicros,
      feeMicros: quote.feeMicros,
      chargeCents: quote.chargeCents,
      feeMode: quote.feeMode,
      feeBps: quote.feeBps,
      livemode: this.gateway.livemode,
      lotId: newId('creditLot'),
      saveCard: request.saveCard,
      // Stripe writes the name of the payment page there: with it, and not without it, the page says what happened.
      successUrl:
        request.successUrl ?? this.ownPage('/checkout/complete', `${id}&session={CHECKOUT_SESSION_ID}`),
      cancelUrl: request.cancelUrl ?? this.ownPage('/checkout/canceled', id),
      expiresAt: new Date(now.getTime() + CHECKOUT_TTL_MS),
      customerId: null,
      checkoutSessionId: null,
      checkoutUrl: null,
      paymentIntentId: null,
      paymentMethodId: null,
      dispatchedAt: null,
      failureCode: null,
      declineCode: null,
      idempotencyKey: request.idempotencyKey,
      clientAddress: request.clientAddress === null ? null : addressGroup(request.clientAddress),
      fingerprint: fingerprintOf(request),
      createdBy: request.actor,
      createdAt: now,
      checkedAt: now,
      paidAt: null,
      automaticTax: this.settings.stripeTax,
      taxMicros: ZERO,
      invoiceUrl: null,
      receiptUrl: null,
    };
  }

  private ownPage(path: string, topUp: string): string {
    const { publicUrl, port } = this.settings;
    const base = publicUrl?.href ?? `http://127.0.0.1:${port}`;
    return `${base.replace(/\/+$/, '')}${path}?top_up=${topUp}`;
  }

  /** What the same key started before. */
  private async findKnown({ accountId, idempotencyKey, fingerprint }: TopUp): Promise<TopUp | null> {
    const known = idempotencyKey === null ? null : await this.topUps.findByKey(accountId, idempotencyKey);
    if (known !== null && known.fingerprint !== fingerprint) throw new IdempotencyKeyReusedError();
    return known;
  }

  /** Asks Stripe for the page unless that was done. Safe to repeat, from any process, after any crash. */
  private async open(topUp: TopUp): Promise<TopUp> {
    if (topUp.status !== 'created') return topUp;
    try {
      const { name } = await this.accounts.require(topUp.accountId);
      const payer = { accountId: topUp.accountId, name };
      const customerId = await this.customers.ensure(payer);
      const { session, customer } = await this.createSession(topUp, payer, customerId);
      await this.topUps.move(topUp, 'pending', {
        customerId: customer,
        checkoutSessionId: session.id,
        checkoutUrl: session.url,
        failureCode: null,
      });
    } catch (error) {
      throw await this.noteFailure(topUp, error);
    }
    return (await this.topUps.find(topUp.accountId, topUp.id)) ?? topUp;
  }

  private async createSession(
    topUp: TopUp,
    payer: Payer,
    customer: string,
  ): Promise<{ readonly session: CheckoutSession; readonly customer: string }> {
    const key = `top_up:${topUp.id}:checkout`;
    try {
      return {
        session: await this.gateway.createCheckoutSession(checkoutPageOf(topUp, customer), key),
        customer,
      };
    } catch (error) {
      if (!(error instanceof CustomerMissingError)) throw error;
      const other = await this.customers.replace(payer, customer);
      // Another request (the customer differs), so another key.
      const page = checkoutPageOf(topUp, other);
      return { session: await this.gateway.createCheckoutSession(page, `${key}:${other}`), customer: other };
    }
  }

  /** Writes on the row what went wrong, and answers what the client is told. */
  private async noteFailure(topUp: TopUp, error: unknown): Promise<unknown> {
    if (error instanceof PaymentsUnavailableError) {
      // With a key the client can go on; without one nobody ever will.
      const canGoOn = topUp.idempotencyKey !== null;
      if (canGoOn) await this.topUps.note(topUp, { failureCode: 'payments_unavailable' });
      else await this.topUps.move(topUp, 'failed', { failureCode: 'payments_unavailable' });
      return error;
    }
    if (!(error instanceof PaymentRequestRefusedError)) return error;
    await this.topUps.move(topUp, 'failed', { failureCode: 'checkout_refused' });
    if (error.param === 'success_url' || error.param === 'cancel_url') {
      return new InvalidRequestError(`Stripe does not accept this ${error.param}.`, error.param);
    }
    this.logger.error(`The payment page of ${topUp.id} was refused: ${error.message}`, error.stack);
    return new CheckoutRefusedError(topUp.id, error);
  }
}

/** What the client asked for, free of what we added. */
function fingerprintOf({ amountCents, saveCard, successUrl, cancelUrl }: NewTopUp): string {
  return hash('sha256', JSON.stringify([amountCents, saveCard, successUrl, cancelUrl]), 'hex');
}

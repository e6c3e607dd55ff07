import { hash } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { addressGroup } from '../../platform/http/connections.js';
import { newId } from '../../platform/common/ids.js';
import { cents, ZERO, microsToCentsExact } from '../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { isUniqueViolation } from '../../platform/database/constraints.js';
import {
  PAYMENT_GATEWAY,
  type CheckoutSession,
  type Payer,
  type PaymentGateway,
  type LineItem,
  type NewCheckoutSession,
} from '../stripe/payment-gateway.js';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from '../stripe/payments.errors.js';
import { StripeCustomersService } from '../stripe/stripe-customers.service.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { TopUpLimitsService } from './limits/top-up-limits.service.js';
import { quoteTopUp, feeShare, formatBps } from './quote.js';
import { AmountOutOfRangeError, CheckoutRefusedError, IdempotencyKeyReusedError } from './top-up.errors.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

export type NewTopUp = {
  readonly accountId: string;
  readonly actor: string;
  /** The credit in mode `on_top`, or the charge in mode `deducted`; see `quote.ts`. */
  readonly amountCents: number;
  readonly saveCard: boolean;
  readonly successUrl: string | null;
  readonly cancelUrl: string | null;
  readonly idempotencyKey: string | null;
  /** The network address of the caller, which the limits count; null when the service itself starts the top-up. */
  readonly clientAddress: string | null;
};

export type StartedTopUp = { readonly topUp: TopUp; readonly replayed: boolean };

/**
 * How long the payment page is open. Stripe accepts no less than 30 minutes from the time of the request, and an hour
 * leaves time to repeat the request after an outage.
 */
const CHECKOUT_TTL_MS = 60 * 60_000;

/** Opens payment pages. The row is written before Stripe is asked, so that a page can be found again by the row's id. */
@Injectable()
export class TopUpCheckoutService {
  private readonly logger = new Logger(TopUpCheckoutService.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly accounts: AccountsService,
    private readonly customers: StripeCustomersService,
    private readonly topUps: TopUpRepository,
    private readonly limits: TopUpLimitsService,
  ) {}

  /**
   * Returns a top-up with an open payment page. The same idempotency key and request return the same top-up again.
   * Throws `AmountOutOfRangeError`, `IdempotencyKeyReusedError`, what the `TopUpLimitsService` throws, or
   * `PaymentsUnavailableError` (then a request with the same key continues where this attempt ended).
   */
  async start(request: NewTopUp): Promise<StartedTopUp> {
    const fresh = this.newTopUp(request, new Date(await this.clock.nowMs()));
    const known = await this.findKnown(fresh);
    if (known !== null) return { topUp: await this.openPage(known), replayed: true };
    if (await this.insert(fresh)) return { topUp: await this.openPage(fresh), replayed: false };
    // A concurrent request with the same key has stored its top-up first.
    const winner = await this.findKnown(fresh);
    if (winner === null) throw new Error(`the idempotency key of ${fresh.id} is used, but no top-up has it`);
    return { topUp: await this.openPage(winner), replayed: true };
  }

  /** Returns false, and writes nothing, when the account used the idempotency key before. */
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
      // Stripe replaces the placeholder with the session's id. Our page shows the payment only to a caller with that id.
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
      fingerprint: requestFingerprint(request),
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

  /** Finds the top-up that a request with the same key started before. */
  private async findKnown({ accountId, idempotencyKey, fingerprint }: TopUp): Promise<TopUp | null> {
    const known = idempotencyKey === null ? null : await this.topUps.findByKey(accountId, idempotencyKey);
    if (known !== null && known.fingerprint !== fingerprint) throw new IdempotencyKeyReusedError();
    return known;
  }

  /** Creates the page at Stripe unless it exists. Any process can repeat this after a crash. */
  private async openPage(topUp: TopUp): Promise<TopUp> {
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
        session: await this.gateway.createCheckoutSession(toCheckoutPage(topUp, customer), key),
        customer,
      };
    } catch (error) {
      if (!(error instanceof CustomerMissingError)) throw error;
      const other = await this.customers.replace(payer, customer);
      // The customer differs, so this is another request and needs another key.
      const page = toCheckoutPage(topUp, other);
      return { session: await this.gateway.createCheckoutSession(page, `${key}:${other}`), customer: other };
    }
  }

  /** Stores the failure on the row, and returns the error for the client. */
  private async noteFailure(topUp: TopUp, error: unknown): Promise<unknown> {
    if (error instanceof PaymentsUnavailableError) {
      // With an idempotency key the client can continue this top-up; without one no caller can.
      const canContinue = topUp.idempotencyKey !== null;
      if (canContinue) await this.topUps.note(topUp, { failureCode: 'payments_unavailable' });
      else await this.topUps.move(topUp, 'failed', { failureCode: 'payments_unavailable' });
      return error;
    }
    if (!(error instanceof PaymentRequestRefusedError)) return error;
    await this.topUps.move(topUp, 'failed', { failureCode: 'checkout_refused' });
    if (error.param === 'success_url' || error.param === 'cancel_url') {
      return new InvalidRequestError(
        `Stripe does not accept this ${error.param}. Nothing was charged. Send another URL.`,
        error.param,
      );
    }
    this.logger.error(
      { event: 'top_up.page_refused', topUp: topUp.id, err: error },
      'Stripe refused to open the payment page of a top-up',
    );
    return new CheckoutRefusedError(topUp.id, error);
  }
}

/** A digest of the client's request, without the defaults that we add. */
function requestFingerprint({ amountCents, saveCard, successUrl, cancelUrl }: NewTopUp): string {
  return hash('sha256', JSON.stringify([amountCents, saveCard, successUrl, cancelUrl]), 'hex');
}

/**
 * Builds the payment page of a top-up from its row alone. When the request is repeated after a crash, Stripe gets the
 * same request under the same key, and answers with the same page.
 */
export function toCheckoutPage(topUp: TopUp, customerId: string): NewCheckoutSession {
  return {
    topUpId: topUp.id,
    accountId: topUp.accountId,
    customerId,
    description: 'API credit',
    lineItems: toLineItems(topUp),
    saveCard: topUp.saveCard,
    automaticTax: topUp.automaticTax,
    successUrl: topUp.successUrl,
    cancelUrl: topUp.cancelUrl,
    expiresAtMs: topUp.expiresAt.getTime(),
  };
}

/** Credit and fee are separate lines, on the page and on the invoice. They are whole cents, because the quote is. */
function toLineItems(topUp: TopUp): LineItem[] {
  const creditCents = microsToCentsExact(topUp.creditMicros);
  const feeCents = microsToCentsExact(topUp.feeMicros);
  const credit = { name: 'API credit', amountCents: creditCents };
  if (feeCents === 0n) return [credit];
  // The minimum fee is not a percentage, so its line must not name one.
  const isShare =
    feeCents === feeShare(topUp.feeMode === 'on_top' ? creditCents : topUp.chargeCents, topUp.feeBps);
  const name = isShare ? `Platform fee (${formatBps(topUp.feeBps)})` : 'Platform fee';
  return [credit, { name, amountCents: feeCents }];
}

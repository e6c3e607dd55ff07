import { cents, micros } from '../../../src/platform/common/money.js';
import type { CheckoutSession } from '../../../src/payments/stripe/payment-gateway.js';
import type { TopUp } from '../../../src/payments/top-ups/top-up.js';

/** Plain bigints where the product has branded ones, so that a test reads as numbers. */
type Loose<T> = { [Member in keyof T]?: Loosened<T[Member]> };
type Loosened<Value> = Value extends bigint ? bigint : Value;

const ID = 'tu_01KB2H7Q0000000000000000AA';

/** $10.00 of credit, $0.50 fee, payable. */
export function aTopUp(changes: Loose<TopUp> = {}): TopUp {
  const createdAt = new Date('2026-11-22T12:00:00Z');
  const sample: TopUp = {
    id: ID,
    accountId: 'acct_01KB2H7Q0000000000000000AA',
    kind: 'checkout',
    status: 'pending',
    creditMicros: micros(10_000_000n),
    feeMicros: micros(500_000n),
    chargeCents: cents(1_050n),
    feeMode: 'on_top',
    feeBps: 500,
    livemode: false,
    lotId: 'lot_01KB2H7Q0000000000000000AA',
    saveCard: false,
    successUrl: 'http://127.0.0.1:3000/checkout/complete',
    cancelUrl: 'http://127.0.0.1:3000/checkout/canceled',
    expiresAt: new Date('2026-11-22T13:00:00Z'),
    customerId: 'cus_1',
    checkoutSessionId: 'cs_test_1',
    checkoutUrl: 'http://127.0.0.1:12111/c/pay/cs_test_1',
    paymentIntentId: null,
    paymentMethodId: null,
    dispatchedAt: null,
    failureCode: null,
    declineCode: null,
    idempotencyKey: null,
    clientAddress: null,
    fingerprint: 'f',
    createdBy: 'account_key:key_1',
    createdAt,
    checkedAt: createdAt,
    paidAt: null,
    automaticTax: false,
    taxMicros: micros(0n),
    invoiceUrl: null,
    receiptUrl: null,
  };
  return Object.assign(sample, changes);
}

/** The session of `aTopUp()`, paid. */
export function aPaidSession(changes: Loose<CheckoutSession> = {}): CheckoutSession {
  const sample: CheckoutSession = {
    id: 'cs_test_1',
    livemode: false,
    status: 'complete',
    paymentStatus: 'paid',
    currency: 'usd',
    amountSubtotalCents: cents(1_050n),
    amountTotalCents: cents(1_050n),
    amountTaxCents: cents(0n),
    automaticTax: false,
    automaticTaxStatus: null,
    clientReferenceId: ID,
    metadata: { top_up_id: ID },
    url: null,
    paymentIntentId: 'pi_1',
    invoiceUrl: null,
    receiptUrl: null,
    paymentIntentStatus: 'succeeded',
  };
  return Object.assign(sample, changes);
}

import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { requireCustomer } from './customers.js';
import { cardError, invalidRequest, resourceMissing } from './errors.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { PaymentMethod } from './objects.js';
import { operation, type Operation } from './operation.js';
import { choice, notSimulated, optional, text } from './parameter-schema.js';
import type { PaymentMethodRecord } from './store.js';
import { testCard, testCardOfToken, type TestCard } from './test-cards.js';

const NO_BILLING_DETAILS = { address: null, email: null, name: null, phone: null, tax_id: null };

/** It belongs to no customer yet; `attachPaymentMethod` assigns one. */
export function newPaymentMethod(
  context: SandboxContext,
  card: TestCard,
  billingDetails: PaymentMethod['billing_details'] = NO_BILLING_DETAILS,
): PaymentMethodRecord {
  const id = stripeId('pm');
  const object: PaymentMethod = {
    id,
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: billingDetails,
    card: cardOf(card),
    created: nowSeconds(context),
    customer: null,
    customer_account: null,
    livemode: false,
    metadata: {},
    type: 'card',
  };
  const record = { id, object, cardNumber: card.number, isSetUpOffSession: false, isUsedUp: false };
  context.store.paymentMethods.put(record);
  return record;
}

function cardOf(card: TestCard): PaymentMethod['card'] {
  return {
    brand: card.brand,
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
    country: 'US',
    display_brand: card.brand,
    exp_month: 12,
    exp_year: 2034,
    fingerprint: `sandbox${card.number.slice(-4)}`,
    funding: 'credit',
    generated_from: null,
    last4: card.number.slice(-4),
    networks: { available: [card.brand], preferred: null },
    regulated_status: 'unregulated',
    three_d_secure_usage: { supported: true },
    wallet: null,
  };
}

export function putPaymentMethod(
  context: SandboxContext,
  record: PaymentMethodRecord,
  changes: Partial<Omit<PaymentMethodRecord, 'id' | 'object'>>,
  objectChanges: Partial<PaymentMethod> = {},
): PaymentMethodRecord {
  const changed = { ...record, ...changes, object: { ...record.object, ...objectChanges } };
  context.store.paymentMethods.put(changed);
  return changed;
}

/** The test card that charging this payment method plays. */
export function cardFor(record: PaymentMethodRecord): TestCard {
  const card = testCard(record.cardNumber);
  if (card === null) throw new Error(`the sandbox no longer knows the test card ${record.cardNumber}`);
  return card;
}

/**
 * The payment method that a request names: its own id, or one of Stripe's `pm_card_…` tokens, which makes
 * a new one. Throws 400 `resource_missing`.
 */
export function requirePaymentMethod(
  context: SandboxContext,
  id: string,
  status: 400 | 404 = 400,
): PaymentMethodRecord {
  const record = context.store.paymentMethods.get(id);
  if (record !== undefined) return record;
  const card = testCardOfToken(id);
  if (card !== null) return newPaymentMethod(context, card);
  throw resourceMissing('PaymentMethod', id, 'payment_method', status);
}

export type CardOwner = { readonly customerId: string; readonly isSetUpOffSession: boolean };

/** Gives it to a customer, who may then be charged with it again. */
export function attachPaymentMethod(
  context: SandboxContext,
  record: PaymentMethodRecord,
  owner: CardOwner,
  cause: Cause,
): PaymentMethodRecord {
  const { customerId, isSetUpOffSession } = owner;
  const attached = putPaymentMethod(
    context,
    record,
    { isSetUpOffSession, isUsedUp: false },
    { customer: customerId, allow_redisplay: isSetUpOffSession ? 'limited' : 'unspecified' },
  );
  emitEvent(context, 'payment_method.attached', attached.object, cause);
  return attached;
}

/** Throws Stripe's refusal of a payment method that may not be charged any more. */
export function assertNotUsedUp(record: PaymentMethodRecord): void {
  if (!record.isUsedUp) return;
  throw invalidRequest(
    'The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a ' +
      'connected account without Customer attachment, or was detached from a Customer. It may not be used again. To ' +
      'use a PaymentMethod multiple times, you must attach it to a Customer first.',
  );
}

function attach(context: SandboxContext, id: string, customerId: string, cause: Cause): PaymentMethod {
  requireCustomer(context, customerId, 'customer');
  const record = requirePaymentMethod(context, id, 404);
  assertNotUsedUp(record);
  if (record.object.customer !== null && record.object.customer !== customerId) {
    throw invalidRequest('The payment method you provided has already been attached to a customer.');
  }
  const card = cardFor(record);
  if (card.decline !== undefined && card.isAttachable !== true) {
    putPaymentMethod(context, record, { isUsedUp: true });
    throw cardError(card.decline, {});
  }
  return attachPaymentMethod(context, record, { customerId, isSetUpOffSession: false }, cause).object;
}

function detach(context: SandboxContext, id: string, cause: Cause): PaymentMethod {
  const record = context.store.paymentMethods.get(id);
  if (record === undefined) throw resourceMissing('PaymentMethod', id, 'payment_method', 404);
  const { customer } = record.object;
  if (customer === null) {
    throw invalidRequest(
      'The payment method you provided is not attached to a customer so detachment is impossible.',
    );
  }
  const detached = putPaymentMethod(context, record, { isUsedUp: true }, { customer: null });
  emitEvent(context, 'payment_method.detached', detached.object, cause, { customer });
  return detached.object;
}

const redisplay = optional(choice(['always', 'limited', 'unspecified']));
const cardsOnly = optional(choice(['card'], ['us_bank_account', 'link', 'sepa_debit']));

export const paymentMethodOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/payment_methods/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const record = context.store.paymentMethods.get(id);
      if (record === undefined) throw resourceMissing('PaymentMethod', id, 'payment_method', 404);
      return record.object;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/payment_methods',
    parameters: {
      ...listParameters,
      allow_redisplay: redisplay,
      customer: optional(text()),
      customer_account: notSimulated,
      type: cardsOnly,
    },
    run: (context, params) => {
      const { allow_redisplay: allowRedisplay, customer } = params;
      if (customer !== undefined) requireCustomer(context, customer, 'customer');
      const wanted = paymentMethodsOf(context, customer, allowRedisplay);
      return page(wanted, params, '/v1/payment_methods', 'PaymentMethod');
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/customers/:id/payment_methods',
    parameters: { ...listParameters, allow_redisplay: redisplay, type: cardsOnly },
    run: (context, params, { id }) => {
      requireCustomer(context, id, 'id');
      const wanted = paymentMethodsOf(context, id, params.allow_redisplay);
      return page(wanted, params, `/v1/customers/${id}/payment_methods`, 'PaymentMethod');
    },
  }),
  operation({
    method: 'POST',
    path: '/v1/payment_methods/:id/attach',
    parameters: { customer: text(), customer_account: notSimulated },
    run: (context, params, { id, cause }) => attach(context, id, params.customer, cause),
  }),
  operation({
    method: 'POST',
    path: '/v1/payment_methods/:id/detach',
    parameters: {},
    run: (context, _params, { id, cause }) => detach(context, id, cause),
  }),
];

/** Lists only those that belong to a customer, or to the given one. */
function paymentMethodsOf(
  context: SandboxContext,
  customerId: string | undefined,
  allowRedisplay: string | undefined,
): readonly PaymentMethod[] {
  const objects = context.store.paymentMethods.newestFirst().map((record) => record.object);
  return objects.filter((object) => {
    if (object.customer === null) return false;
    if (customerId !== undefined && object.customer !== customerId) return false;
    return allowRedisplay === undefined || object.allow_redisplay === allowRedisplay;
  });
}

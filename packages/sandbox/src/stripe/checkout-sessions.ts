import { createSessionParameters, listSessionsParameters } from './checkout-session-parameters.js';
import { CAUSED_BY_NO_REQUEST, nowSeconds, type Cause, type SandboxContext } from './context.js';
import { emitEvent } from './events.js';
import { invalidRequest, resourceMissing } from './errors.js';
import { listParameters, page } from './lists.js';
import { newCheckoutSession } from './new-checkout-session.js';
import type { CheckoutSession } from './objects.js';
import { operation, type Operation } from './operation.js';
import { isWithin } from './parameter-schema.js';
import { cancelPaymentIntent } from './payment-intents.js';
import type { CheckoutSessionRecord } from './store.js';

function requireSession(context: SandboxContext, id: string): CheckoutSessionRecord {
  const record = context.store.checkoutSessions.get(id);
  if (record === undefined) throw resourceMissing('checkout.session', id, 'session', 404);
  return record;
}

/** Replaces the public object and keeps the rest. */
export function putSession(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  changes: Partial<CheckoutSession>,
): CheckoutSessionRecord {
  const changed = { ...record, object: { ...record.object, ...changes } };
  context.store.checkoutSessions.put(changed);
  return changed;
}

/** Expires an open session: it can no longer be paid, and a payment that was begun is canceled. */
export function expireSession(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  cause: Cause,
): CheckoutSessionRecord {
  const expired = putSession(context, record, { status: 'expired', url: null });
  const intent = context.store.paymentIntents.get(record.object.payment_intent ?? '');
  if (intent !== undefined) cancelPaymentIntent(context, intent, 'automatic', cause);
  emitEvent(context, 'checkout.session.expired', expired.object, cause);
  return expired;
}

/** Expires what ran out of time since the last look; answers how many sessions that were. */
export function expireOverdue(context: SandboxContext): number {
  const now = nowSeconds(context);
  const overdue = context.store.checkoutSessions
    .oldestFirst()
    .filter(({ object }) => object.status === 'open' && object.expires_at <= now);
  for (const record of overdue) expireSession(context, record, CAUSED_BY_NO_REQUEST);
  return overdue.length;
}

export const checkoutSessionOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/checkout/sessions',
    parameters: createSessionParameters,
    run: (context, params) => {
      const record = newCheckoutSession(context, params);
      context.store.checkoutSessions.put(record);
      return record.object;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions/:id',
    parameters: {},
    run: (context, _params, { id }) => requireSession(context, id).object,
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions',
    parameters: listSessionsParameters,
    run: (context, params) => {
      const sessions = context.store.checkoutSessions.newestFirst().map((record) => record.object);
      const { created, customer, customer_details: details, payment_intent: paymentIntent, status } = params;
      const wanted = sessions.filter((session) => {
        if (!isWithin(created, session.created)) return false;
        if (customer !== undefined && session.customer !== customer) return false;
        if (details !== undefined && session.customer_details?.['email'] !== details.email) return false;
        if (paymentIntent !== undefined && session.payment_intent !== paymentIntent) return false;
        return status === undefined || session.status === status;
      });
      return page(wanted, params, '/v1/checkout/sessions', 'checkout.session');
    },
  }),
  operation({
    method: 'POST',
    path: '/v1/checkout/sessions/:id/expire',
    parameters: {},
    run: (context, _params, { id, cause }) => {
      const record = requireSession(context, id);
      if (record.object.status === 'open') return expireSession(context, record, cause).object;
      throw invalidRequest(
        `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ` +
          `\`${record.object.status}\`.`,
      );
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions/:id/line_items',
    parameters: listParameters,
    run: (context, params, { id }) => {
      const { lineItems } = requireSession(context, id);
      return page(lineItems, params, `/v1/checkout/sessions/${id}/line_items`, 'item');
    },
  }),
];

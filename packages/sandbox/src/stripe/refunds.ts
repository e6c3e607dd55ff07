import { formatCents } from '../money.js';
import { AMOUNT_MAX_CENTS } from './checkout-session-parameters.js';
import type { Cause, SandboxContext } from './context.js';
import { invalidRequest, resourceMissing } from './errors.js';
import { emitEvent } from './events.js';
import { ofPayment, page, paymentListParameters } from './lists.js';
import type { Refund } from './money-out-objects.js';
import type { Charge } from './objects.js';
import { operation, type Operation } from './operation.js';
import {
  changedMetadata,
  choice,
  emptyable,
  integer,
  metadata,
  metadataChange,
  notSimulated,
  optional,
  text,
  type ValuesOf,
} from './parameter-schema.js';
import { createRefund } from './refund-settlement.js';

const createParameters = {
  amount: optional(integer(1, AMOUNT_MAX_CENTS)),
  charge: optional(text()),
  currency: notSimulated,
  customer: notSimulated,
  instructions_email: notSimulated,
  metadata: optional(emptyable(metadata())),
  origin: notSimulated,
  payment_intent: optional(text()),
  reason: optional(choice(['duplicate', 'fraudulent', 'requested_by_customer'])),
  refund_application_fee: notSimulated,
  reverse_transfer: notSimulated,
};

type CreateValues = ValuesOf<typeof createParameters>;

function create(context: SandboxContext, params: CreateValues, cause: Cause): Refund {
  const charge = chargeToRefund(context, params);
  const amountCents = amountToRefund(context, charge, params.amount);
  const { reason = null, metadata: given } = params;
  return createRefund(context, charge, { amountCents, reason, metadata: given ?? {} }, cause);
}

function chargeToRefund(context: SandboxContext, params: CreateValues): Charge {
  const { charge: chargeId, payment_intent: intentId } = params;
  if (chargeId === undefined && intentId === undefined) {
    throw invalidRequest(
      'One of the following params should be provided for this request: payment_intent or charge.',
    );
  }
  if (chargeId !== undefined && intentId !== undefined) {
    throw invalidRequest('You may only specify one of these parameters: payment_intent, charge.');
  }
  const charge =
    chargeId === undefined ? chargeOfIntent(context, intentId ?? '') : chargeOf(context, chargeId);
  if (charge.status === 'succeeded') return charge;
  throw nothingToRefund(charge.payment_intent);
}

/** Stripe names the parameter `id` here, and answers 404. */
function chargeOf(context: SandboxContext, id: string): Charge {
  const charge = context.store.charges.get(id);
  if (charge === undefined) throw resourceMissing('charge', id, 'id', 404);
  return charge;
}

function chargeOfIntent(context: SandboxContext, id: string): Charge {
  const intent = context.store.paymentIntents.get(id);
  if (intent === undefined) throw resourceMissing('payment_intent', id, 'payment_intent', 400);
  const charge = context.store.charges.get(intent.latest_charge ?? '');
  if (charge === undefined) throw nothingToRefund(id);
  return charge;
}

function nothingToRefund(intentId: string): Error {
  return invalidRequest(`This PaymentIntent (${intentId}) does not have a successful charge to refund.`);
}

function amountToRefund(context: SandboxContext, charge: Charge, asked: number | undefined): number {
  if (isChargedBack(context, charge)) {
    throw invalidRequest(`Charge ${charge.id} has been charged back; cannot issue a refund.`, {
      code: 'charge_disputed',
    });
  }
  const left = charge.amount - charge.amount_refunded;
  if (left <= 0) {
    throw invalidRequest(`Charge ${charge.id} has already been refunded.`, {
      code: 'charge_already_refunded',
    });
  }
  if (asked === undefined || asked <= left) return asked ?? left;
  throw invalidRequest(
    `Refund amount (${formatCents(asked)}) is greater than unrefunded amount on charge (${formatCents(left)})`,
    { param: 'amount' },
  );
}

function isChargedBack(context: SandboxContext, charge: Charge): boolean {
  const disputes = context.store.disputes.oldestFirst();
  return disputes.some((dispute) => dispute.charge === charge.id && !dispute.is_charge_refundable);
}

/** Throws 404 `resource_missing`. */
function requireRefund(context: SandboxContext, id: string): Refund {
  const refund = context.store.refunds.get(id);
  if (refund === undefined) throw resourceMissing('refund', id, 'refund', 404);
  return refund;
}

export const refundOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/refunds',
    parameters: createParameters,
    run: (context, params, { cause }) => create(context, params, cause),
  }),
  operation({
    method: 'GET',
    path: '/v1/refunds/:id',
    parameters: {},
    run: (context, _params, { id }) => requireRefund(context, id),
  }),
  operation({
    method: 'POST',
    path: '/v1/refunds/:id',
    parameters: { metadata: optional(emptyable(metadataChange())) },
    run: (context, params, { id, cause }) => {
      const refund = requireRefund(context, id);
      if (params.metadata === undefined) return refund;
      const changed = { ...refund, metadata: changedMetadata(refund.metadata, params.metadata) };
      context.store.refunds.put(changed);
      emitEvent(context, 'refund.updated', changed, cause, { metadata: refund.metadata });
      return changed;
    },
  }),
  operation({
    method: 'POST',
    path: '/v1/refunds/:id/cancel',
    parameters: {},
    run: (context, _params, { id }) => {
      requireRefund(context, id);
      // Only refunds that wait for the customer can be canceled, and cards have none of them.
      throw invalidRequest('Canceling this refund is unsupported.');
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/refunds',
    parameters: paymentListParameters,
    run: (context, params) => {
      const wanted = ofPayment(context.store.refunds.newestFirst(), params);
      return page(wanted, params, '/v1/refunds', 'refund');
    },
  }),
];

import { invalidRequest, resourceMissing } from './errors.js';
import type { StripeList, StripeObject } from './objects.js';
import { integer, isWithin, optional, text, timeRange, type ValuesOf } from './parameter-schema.js';

const LIMIT_DEFAULT = 10;
const LIMIT_MAX = 100;

/** The parameters of every list. */
export const listParameters = {
  ending_before: optional(text(255)),
  limit: optional(integer(1, LIMIT_MAX)),
  starting_after: optional(text(255)),
};

/** The parameters of the lists of what happens to a payment: its refunds, disputes and warnings. */
export const paymentListParameters = {
  ...listParameters,
  charge: optional(text()),
  created: optional(timeRange()),
  payment_intent: optional(text()),
};

/** Those that such a list asks for. */
export function ofPayment<
  T extends { readonly created: number; readonly charge: unknown; readonly payment_intent: unknown },
>(objects: readonly T[], params: ValuesOf<typeof paymentListParameters>): T[] {
  const { charge, created, payment_intent: paymentIntent } = params;
  return objects.filter((object) => {
    if (!isWithin(created, object.created)) return false;
    if (charge !== undefined && object.charge !== charge) return false;
    return paymentIntent === undefined || object.payment_intent === paymentIntent;
  });
}

type ListRequest = {
  readonly ending_before: string | undefined;
  readonly limit: number | undefined;
  readonly starting_after: string | undefined;
};

/** One page of `newestFirst`, cut at the cursors as Stripe cuts it. */
export function page(
  newestFirst: readonly StripeObject[],
  request: ListRequest,
  url: string,
  kind: string,
): StripeList {
  const { ending_before: endingBefore, starting_after: startingAfter, limit = LIMIT_DEFAULT } = request;
  if (endingBefore !== undefined && startingAfter !== undefined) {
    throw invalidRequest('You cannot parameterize both starting_after and ending_before.', {
      param: 'ending_before',
    });
  }
  const positionOf = (id: string, param: string): number => {
    const position = newestFirst.findIndex((item) => item.id === id);
    if (position === -1) throw resourceMissing(kind, id, param, 400);
    return position;
  };
  if (endingBefore !== undefined) {
    const end = positionOf(endingBefore, 'ending_before');
    const start = Math.max(0, end - limit);
    return { object: 'list', url, has_more: start > 0, data: newestFirst.slice(start, end) };
  }
  const start = startingAfter === undefined ? 0 : positionOf(startingAfter, 'starting_after') + 1;
  const data = newestFirst.slice(start, start + limit);
  return { object: 'list', url, has_more: start + data.length < newestFirst.length, data };
}

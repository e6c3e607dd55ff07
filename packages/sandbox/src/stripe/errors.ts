import type { Decline } from './test-cards.js';

/** The `error` member of Stripe's error bodies. */
export type StripeErrorBody = {
  readonly type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';
  readonly advice_code?: string;
  readonly charge?: string;
  readonly code?: string;
  readonly decline_code?: string;
  readonly doc_url?: string;
  readonly message: string;
  readonly network_decline_code?: string;
  readonly param?: string;
  readonly payment_intent?: unknown;
  readonly payment_method?: unknown;
  readonly payment_method_type?: string;
};

/** Every answer of the simulator with a status other than 200. */
export class StripeApiError extends Error {
  constructor(
    readonly status: number,
    readonly body: StripeErrorBody,
  ) {
    super(body.message);
    this.name = 'StripeApiError';
  }
}

type InvalidRequest = {
  readonly code?: string;
  readonly param?: string;
  readonly status?: number;
  /** The object whose state refuses the request; Stripe then shows it. */
  readonly paymentIntent?: unknown;
};

/** `invalid_request_error`, with status 400 by default. */
export function invalidRequest(message: string, details: InvalidRequest = {}): StripeApiError {
  const { code, param, status = 400, paymentIntent } = details;
  return new StripeApiError(status, {
    ...(code === undefined ? {} : { code, doc_url: docUrl(code) }),
    message,
    ...(param === undefined ? {} : { param }),
    ...(paymentIntent === undefined ? {} : { payment_intent: paymentIntent }),
    type: 'invalid_request_error',
  });
}

type DeclinedObjects = Pick<StripeErrorBody, 'charge' | 'payment_intent' | 'payment_method'>;

/** The body of a `card_error`: also what a PaymentIntent keeps as `last_payment_error`. */
export function declineBody(decline: Decline, objects: DeclinedObjects): StripeErrorBody {
  const { code, declineCode, message, adviceCode, networkDeclineCode } = decline;
  return {
    ...(adviceCode === null ? {} : { advice_code: adviceCode }),
    code,
    ...(declineCode === null ? {} : { decline_code: declineCode }),
    doc_url: docUrl(code),
    message,
    ...(networkDeclineCode === null ? {} : { network_decline_code: networkDeclineCode }),
    ...(objects.payment_method === undefined ? {} : { payment_method_type: 'card' }),
    ...objects,
    // Stripe files the customer's failure under the request's.
    type: code === 'payment_intent_authentication_failure' ? 'invalid_request_error' : 'card_error',
  };
}

/** 402: what Stripe answers when the card, not the request, is the problem. */
export function cardError(decline: Decline, objects: DeclinedObjects): StripeApiError {
  return new StripeApiError(402, declineBody(decline, objects));
}

function docUrl(code: string): string {
  return `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}`;
}

export function parameterUnknown(params: readonly string[]): StripeApiError {
  const message = `Received unknown parameter${params.length === 1 ? '' : 's'}: ${params.join(', ')}`;
  return invalidRequest(message, { code: 'parameter_unknown', ...firstOf(params) });
}

function firstOf(params: readonly string[]): { param?: string } {
  const [param] = params;
  return param === undefined ? {} : { param };
}

export function parameterMissing(param: string): StripeApiError {
  return invalidRequest(`Missing required param: ${param}.`, { code: 'parameter_missing', param });
}

/**
 * Stripe would accept this parameter or value; the simulator does not implement it. It refuses it with an
 * explicit error, because ignoring it would let a test pass that fails in production.
 */
export function notSimulatedError(param: string, value?: string): StripeApiError {
  const what = value === undefined ? param : `${param}=${value}`;
  return invalidRequest(`The sandbox does not simulate '${what}', although Stripe accepts it.`, {
    code: 'sandbox_not_simulated',
    param,
  });
}

/** 404 when the id is in the path, 400 when it is a parameter. */
export function resourceMissing(kind: string, id: string, param: string, status: 400 | 404): StripeApiError {
  return invalidRequest(`No such ${kind}: '${id}'`, { code: 'resource_missing', param, status });
}

export function unrecognizedUrl(method: string, path: string): StripeApiError {
  return invalidRequest(
    `Unrecognized request URL (${method}: ${path}). If you are trying to list objects, remove the trailing slash. ` +
      'If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code. ' +
      'The sandbox serves only the routes that its README lists.',
    { status: 404 },
  );
}

export function internalError(message: string): StripeApiError {
  return new StripeApiError(500, { message, type: 'api_error' });
}

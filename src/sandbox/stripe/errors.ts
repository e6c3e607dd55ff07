/** The `error` member of Stripe's error bodies. */
export type StripeErrorBody = {
  readonly type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';
  readonly code?: string;
  readonly decline_code?: string;
  readonly doc_url?: string;
  readonly message: string;
  readonly param?: string;
  readonly payment_intent?: unknown;
};

/** Everything that the stand-in answers with a status other than 200. */
export class StripeApiError extends Error {
  constructor(
    readonly status: number,
    readonly body: StripeErrorBody,
  ) {
    super(body.message);
    this.name = 'StripeApiError';
  }
}

type InvalidRequest = { readonly code?: string; readonly param?: string; readonly status?: number };

/** `invalid_request_error`, 400 unless told otherwise. */
export function invalidRequest(message: string, details: InvalidRequest = {}): StripeApiError {
  const { code, param, status = 400 } = details;
  return new StripeApiError(status, {
    ...(code === undefined ? {} : { code, doc_url: docUrl(code) }),
    message,
    ...(param === undefined ? {} : { param }),
    type: 'invalid_request_error',
  });
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
 * Stripe knows this parameter or value and would accept it; the stand-in does not play it. Refusing it
 * loudly is the only honest answer: ignoring it would let a test pass that fails in production.
 */
export function notSimulatedError(param: string, value?: string): StripeApiError {
  const what = value === undefined ? param : `${param}=${value}`;
  return invalidRequest(`The sandbox does not simulate '${what}', although Stripe accepts it.`, {
    code: 'sandbox_not_simulated',
    param,
  });
}

/** 404 when the id stands in the path, 400 when it stands in a parameter. */
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

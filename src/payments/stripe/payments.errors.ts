import { Problem } from '../../platform/errors/problem.js';

/** Long enough for a hiccup at Stripe, short enough that the customer is still there. */
const RETRY_AFTER_SECONDS = 5;

/** 503: Stripe cannot be reached, or answered nonsense. Nothing was charged; the same request may be repeated. */
export class PaymentsUnavailableError extends Problem {
  readonly code = 'payments_unavailable';
  constructor(cause: unknown) {
    super('Payments cannot be taken right now. Nothing was charged. Retry shortly.', {
      cause,
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    });
  }
}

/** 400: not Stripe's signature over these bytes, or not of now. The message never says which: it helps only forgers. */
export class InvalidSignatureError extends Problem {
  readonly code = 'invalid_signature';
  constructor(readonly reason: string) {
    super('The Stripe-Signature header does not match this body and this moment. Nothing was stored.');
  }
}

/** 400: well signed, yet no event that this service can mean. */
export class InvalidEventError extends Problem {
  readonly code = 'invalid_request';
  constructor(what: string, param: string) {
    super(`This is no event for this service: ${what}. Nothing was stored.`, { param });
  }
}

/** Stripe refused a request of ours for good; repeating it changes nothing. A fault of ours, or of a URL we passed on. */
export class PaymentRequestRefusedError extends Error {
  constructor(
    /** Stripe's own code, such as `url_invalid`; `unknown` when it gave none. */
    readonly providerCode: string,
    /** Stripe's name of the parameter at fault. */
    readonly param: string | null,
    cause: unknown,
  ) {
    super(`Stripe refused a request (${providerCode}, ${param ?? 'no parameter'})`, { cause });
    this.name = 'PaymentRequestRefusedError';
  }
}

/** The customer that we remember is not at Stripe (any more). */
export class CustomerMissingError extends PaymentRequestRefusedError {
  constructor(cause: unknown) {
    super('resource_missing', 'customer', cause);
    this.name = 'CustomerMissingError';
  }
}

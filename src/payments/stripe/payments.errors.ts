import { Problem } from '../../platform/errors/problem.js';

/** Long enough for a short outage at Stripe, and short enough that the customer still waits. */
const RETRY_AFTER_SECONDS = 5;

/** 503: Stripe cannot be reached, or its answer is invalid. Nothing was charged; the same request may be repeated. */
export class PaymentsUnavailableError extends Problem {
  readonly code = 'payments_unavailable';
  constructor(cause: unknown) {
    super('Payments cannot be taken right now. Nothing was charged. Retry shortly.', {
      cause,
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    });
  }
}

/** 400: the signature is not Stripe's over these bytes, or is too old. The message does not say which, because that would help only forgers. */
export class InvalidSignatureError extends Problem {
  readonly code = 'invalid_signature';
  constructor(readonly reason: string) {
    super('The Stripe-Signature header does not match this body, or is not recent. Nothing was stored.');
  }
}

/** 400: the signature is valid, but the body is not an event for this service. */
export class InvalidEventError extends Problem {
  readonly code = 'invalid_request';
  constructor(what: string, param: string) {
    super(`This is not an event for this service: ${what}. Nothing was stored.`, { param });
  }
}

/** Stripe refused one of our requests permanently. The cause is a fault of ours, or a URL that a customer gave us. */
export class PaymentRequestRefusedError extends Error {
  constructor(
    /** Stripe's code, such as `url_invalid`; `unknown` when it gave none. */
    readonly providerCode: string,
    /** Stripe's name of the parameter at fault. */
    readonly param: string | null,
    cause: unknown,
  ) {
    super(`Stripe refused a request (${providerCode}, ${param ?? 'no parameter'})`, { cause });
    this.name = 'PaymentRequestRefusedError';
  }
}

/** Stripe does not know the customer whose id we stored. */
export class CustomerMissingError extends PaymentRequestRefusedError {
  constructor(cause: unknown) {
    super('resource_missing', 'customer', cause);
    this.name = 'CustomerMissingError';
  }
}

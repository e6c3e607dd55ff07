import { Stripe } from 'stripe';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from './payments.errors.js';

const { errors } = Stripe;

/** What an error of the SDK means to us. Whatever is not a clear refusal may have happened or not: unavailable. */
export function translateStripeError(error: unknown): Error {
  if (error instanceof errors.StripeIdempotencyError) {
    return new PaymentRequestRefusedError('idempotency_error', null, error);
  }
  if (error instanceof errors.StripeInvalidRequestError) {
    const param = error.param ?? null;
    if (param === 'customer' && error.code === 'resource_missing') return new CustomerMissingError(error);
    return new PaymentRequestRefusedError(error.code ?? 'unknown', param, error);
  }
  return new PaymentsUnavailableError(error);
}

export function isResourceMissing(error: unknown): boolean {
  return error instanceof errors.StripeInvalidRequestError && error.statusCode === 404;
}

/** Our key is wrong, revoked or lacks a permission: no retry mends it, a person has to. */
export function isKeyRefused(error: unknown): boolean {
  return error instanceof errors.StripeAuthenticationError || error instanceof errors.StripePermissionError;
}

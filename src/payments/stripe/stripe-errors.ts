import { Stripe } from 'stripe';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from './payments.errors.js';

const { errors } = Stripe;

/** Translates an error of the SDK. Unless Stripe clearly refused the request, it may have succeeded, so it counts as unavailable. */
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

/** Whether our key is wrong, revoked or lacks a permission. An operator has to fix that; a retry does not help. */
export function isKeyRefused(error: unknown): boolean {
  return error instanceof errors.StripeAuthenticationError || error instanceof errors.StripePermissionError;
}

import { Problem } from '../../platform/errors/problem.js';

/** Of longer waits some SDK versions sleep out every second and others none. */
const RETRY_AFTER_SECONDS = 60;

/** 429: a link goes to an address that never asked for it, so few of them go out. */
export class TooManyConfirmationsError extends Problem {
  readonly code = 'too_many_confirmations';
  constructor(max: number) {
    super(
      `${max} links were sent within a day, and no more are. Confirm one of those, or ask again tomorrow.`,
      { retryAfterSeconds: RETRY_AFTER_SECONDS },
    );
  }
}

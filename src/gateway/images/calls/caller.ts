import type { AccountPrincipal } from '../../../identity/auth/principal.js';
import type { LimitReport } from '../../../identity/rate-limits/rate-limit.guard.js';
import type { RetryingClient } from './retries/retrying-client.js';

/** The caller of an image route, as authentication found it, with the headers that the call depends on. */
export type Caller = {
  readonly principal: AccountPrincipal;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** `x-coffer-tag`. */
  readonly tag: string | null;
  /** Null for a client that does not announce its retries. */
  readonly client: RetryingClient | null;
  /** Receives what the rate limits count, for the headers of the answer, and knows when the answer has ended. */
  readonly limits: LimitReport;
};

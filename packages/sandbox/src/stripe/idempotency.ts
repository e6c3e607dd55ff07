import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { invalidRequest, StripeApiError } from './errors.js';
import type { IdempotentResult, Table } from './store.js';

/** Stripe may forget a key after a day; the simulator always does, so that code which relies on more fails in tests. */
export const IDEMPOTENCY_TTL_MS = 24 * 60 * 60 * 1_000;
const KEY_LENGTH_MAX = 255;

export type IdempotentRequest = {
  readonly apiKey: string;
  readonly key: string;
  readonly path: string;
  /** Canonical spelling of the parameters. */
  readonly fingerprint: string;
};

/**
 * Stripe's rules: the first execution's answer, errors included, is replayed to every later request with
 * the same key and parameters. Requests refused before they execute leave no trace.
 */
export class IdempotencyKeys {
  private readonly inFlight = new Map<string, IdempotentRequest>();

  constructor(
    private readonly results: Table<IdempotentResult>,
    private readonly clock: Clock,
  ) {}

  /**
   * The answer to replay, or null when the caller shall execute and then `finish` or `abandon`.
   * Throws 400 `idempotency_error` for other parameters and 409 while the first request still runs.
   */
  begin(request: IdempotentRequest): IdempotentResult | null {
    if (request.key.length > KEY_LENGTH_MAX) {
      throw invalidRequest(`Idempotency keys can be at most ${KEY_LENGTH_MAX} characters long.`);
    }
    const id = digestOf(request);
    const running = this.inFlight.get(id);
    if (running !== undefined) {
      assertSameRequest(request, running);
      throw keyInUse(request.key);
    }
    const earlier = this.results.get(id);
    if (earlier !== undefined && this.clock.nowMs() - earlier.createdAtMs < IDEMPOTENCY_TTL_MS) {
      assertSameRequest(request, earlier);
      return earlier;
    }
    this.results.delete(id);
    this.inFlight.set(id, request);
    return null;
  }

  /** Stores the answer; it is durable with the next flush, together with what the request did. */
  finish(request: IdempotentRequest, answer: { status: number; body: string; requestId: string }): void {
    const { path, fingerprint } = request;
    this.results.put({
      id: digestOf(request),
      path,
      fingerprint,
      ...answer,
      createdAtMs: this.clock.nowMs(),
    });
  }

  /** Ends the time in which a second request receives a 409; without `finish`, the key stays unused. */
  release(request: IdempotentRequest): void {
    this.inFlight.delete(digestOf(request));
  }
}

function digestOf({ apiKey, key }: IdempotentRequest): string {
  return createHash('sha256').update(`${apiKey}\n${key}`).digest('hex');
}

function assertSameRequest(
  request: IdempotentRequest,
  earlier: Pick<IdempotentRequest, 'fingerprint' | 'path'>,
): void {
  if (request.path !== earlier.path) {
    throw idempotencyError(
      `Keys for idempotent requests can only be used for the same endpoint they were first used for ` +
        `('${request.path}' vs '${earlier.path}'). ${tryAnother(request.key)}`,
    );
  }
  if (request.fingerprint !== earlier.fingerprint) {
    throw idempotencyError(
      `Keys for idempotent requests can only be used with the same parameters they were first used with. ` +
        tryAnother(request.key),
    );
  }
}

function tryAnother(key: string): string {
  return `Try using a key other than '${key}' if you meant to execute a different request.`;
}

function idempotencyError(message: string): StripeApiError {
  return new StripeApiError(400, { message, type: 'idempotency_error' });
}

function keyInUse(key: string): StripeApiError {
  return invalidRequest(
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted ' +
      `twice, and the other request is still going through): ${key}. Please try again later.`,
    { code: 'idempotency_key_in_use', status: 409 },
  );
}

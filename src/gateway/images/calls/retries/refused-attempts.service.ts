import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { Problem } from '../../../../platform/errors/problem.js';
import type { Retry } from './retry-claims.service.js';
import type { RetryingClient } from '../caller.js';

/** The longest that OpenAI's SDKs wait before they send a call again, unless our answer asked for longer. */
const PAUSE_MAX_MS = 8_000;
/** Additional time for the network and for busy clients. */
const LATE_MS = 5_000;
/** An attempt takes about two hundred bytes. Beyond this the oldest is dropped: its retry may get the answer of an identical call. */
const ATTEMPTS_MAX = 10_000;

type Call = Pick<Retry, 'accountId' | 'apiKeyId' | 'fingerprint'>;

/**
 * Remembers the attempts that this process refused without a charge, with an error after which SDKs send the call again. The retry
 * of such an attempt has not lost an answer, so it is a new call, even if identical calls were answered at the same time. Only this
 * process remembers it: a retry that reaches another process may get the image of an identical call, for which it does not pay.
 */
@Injectable()
export class RefusedAttemptsService {
  /** For each call and attempt number, the times by which the retries must have arrived, in the order of the refusals. */
  private readonly expiries = new Map<string, number[]>();
  /** A retry that searches several times gets the same result each time. */
  private readonly judged = new WeakMap<RetryingClient, boolean>();
  private count = 0;

  constructor(@Inject(LEDGER_CLOCK) private readonly clock: Clock) {}

  note(call: Call, { retryCount }: RetryingClient, error: unknown): void {
    if (!isSentAgain(error)) return;
    const waitMs = Math.max((error.retryAfterSeconds ?? 0) * 1_000, PAUSE_MAX_MS) + LATE_MS;
    const name = toAttemptKey(call, retryCount);
    const expiries = this.expiries.get(name) ?? [];
    expiries.push(this.clock.nowMs() + waitMs);
    this.expiries.delete(name);
    this.expiries.set(name, expiries);
    this.count += 1;
    while (this.count > ATTEMPTS_MAX) this.forgetOldest();
  }

  /** Whether this is the retry of an attempt that was refused. One refusal explains one retry. */
  explains(call: Call, client: RetryingClient): boolean {
    const known = this.judged.get(client);
    if (known !== undefined) return known;
    const isExplained = this.take(toAttemptKey(call, client.retryCount - 1));
    this.judged.set(client, isExplained);
    return isExplained;
  }

  private take(name: string): boolean {
    const expiries = this.expiries.get(name) ?? [];
    const left = expiries.filter((expiresAtMs) => expiresAtMs > this.clock.nowMs());
    const isKnown = left.shift() !== undefined;
    this.count -= expiries.length - left.length;
    if (left.length === 0) this.expiries.delete(name);
    else this.expiries.set(name, left);
    return isKnown;
  }

  private forgetOldest(): void {
    const [oldest] = this.expiries.entries();
    if (oldest === undefined) return;
    const [name, expiries] = oldest;
    this.expiries.delete(name);
    this.count -= expiries.length;
  }
}

const toAttemptKey = ({ accountId, apiKeyId, fingerprint }: Call, attempt: number): string =>
  [accountId, apiKeyId, fingerprint, attempt].join('\n');

/** Whether this is a refusal without a charge after which SDKs send the call again. */
function isSentAgain(error: unknown): error is Problem {
  if (!(error instanceof Problem) || error.shouldRetry === false) return false;
  return (error.status === 429 || error.status >= 500) && error.details['charged_micros'] === '0';
}

import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { Problem } from '../../../../platform/errors/problem.js';
import type { Retry } from './retry-claims.service.js';
import type { RetryingClient } from './retrying-client.js';

/** The longest that OpenAI's SDKs wait before they send a call again, where we did not ask for longer. */
const PAUSE_MAX_MS = 8_000;
/** For the way, and for clients that are busy. */
const LATE_MS = 5_000;
/** About two hundred bytes each. Beyond it the oldest is forgotten: its retry may get the answer of an identical call. */
const ATTEMPTS_MAX = 10_000;

type Call = Pick<Retry, 'accountId' | 'apiKeyId' | 'fingerprint'>;

/**
 * The attempts that this process has answered with an error that their SDKs send again, for nothing. The retry of such a one
 * has lost no answer: it is a call of its own, whatever identical calls were answered beside it. It is only a memory of this
 * process; without it a retry may get the picture of an identical call, for nothing, and never pays for one twice.
 */
@Injectable()
export class RefusedAttempts {
  /** By call and number of the attempt; when each one's retry must have come. In the order in which they were refused. */
  private readonly expiries = new Map<string, number[]>();
  /** A retry that looks again is judged as it was. */
  private readonly judged = new WeakMap<RetryingClient, boolean>();
  private count = 0;

  constructor(@Inject(LEDGER_CLOCK) private readonly clock: Clock) {}

  note(call: Call, { retryCount }: RetryingClient, error: unknown): void {
    if (!isSentAgain(error)) return;
    const waitMs = Math.max((error.retryAfterSeconds ?? 0) * 1_000, PAUSE_MAX_MS) + LATE_MS;
    const name = nameOf(call, retryCount);
    const expiries = this.expiries.get(name) ?? [];
    expiries.push(this.clock.nowMs() + waitMs);
    this.expiries.delete(name);
    this.expiries.set(name, expiries);
    this.count += 1;
    while (this.count > ATTEMPTS_MAX) this.forgetOldest();
  }

  /** Whether this retry is of an attempt that was refused. One refusal explains one retry. */
  explains(call: Call, client: RetryingClient): boolean {
    const known = this.judged.get(client);
    if (known !== undefined) return known;
    const isExplained = this.take(nameOf(call, client.retryCount - 1));
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

const nameOf = ({ accountId, apiKeyId, fingerprint }: Call, attempt: number): string =>
  [accountId, apiKeyId, fingerprint, attempt].join('\n');

/** A refusal of ours that cost nothing, and that SDKs take for a reason to send the call again. */
function isSentAgain(error: unknown): error is Problem {
  if (!(error instanceof Problem) || error.shouldRetry === false) return false;
  return (error.status === 429 || error.status >= 500) && error.details['charged_micros'] === '0';
}

import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { generationIdAt } from '../records/generation-filter.js';
import type { OutputFormat } from '../../providers/image-provider.js';
import type { GenerationKey } from '../records/generation.js';
import {
  CLAIM,
  CLAIM_ANSWERED,
  DOUBT,
  END_ANSWER,
  END_CLAIM,
  FORGET,
  OUTLOOK,
  RENEW_CLAIM,
} from './retry-statements.js';

/**
 * Older attempts are nobody's any more: OpenAI's SDKs give up waiting for an answer after ten minutes, and send the
 * call again within seconds.
 */
export const RETRY_WINDOW_MS = 15 * 60_000;

/**
 * How long an answer that was handed over may have been lost behind its connection, by a proxy that had read it and then lost
 * its client. OpenAI's SDKs wait at most 8 s before they send a call again (`retry-after` makes it longer only where we sent
 * one, and then there was no answer). The rest is for noticing that the connection is gone, and for the way. A client that
 * waits out its own time-out comes later, and its call is a new one.
 */
export const ANSWERED_WINDOW_MS = 30_000;
/** The least that SDKs wait, as in the rule of the hold. Nothing that a call over a customer's own key loads may know that one. */
const PAUSE_MIN_MS = 375;
/** Longer than a call takes from its beginning to its answer. */
export const CALL_MS_MAX = 120_000;

/** Whoever has claimed an attempt shows a sign of life three times as often, or is dead. */
export const CLAIM_MS = 6_000;

/** One retry: which call it repeats, and the name of its own that it claims under. */
export type Retry = {
  readonly accountId: string;
  readonly apiKeyId: string;
  readonly fingerprint: string;
  readonly outputFormat: OutputFormat | null;
  readonly claim: string;
};

/** What there is when nothing could be claimed. */
export type Outlook = {
  /** An attempt has become free meanwhile. */
  readonly claimable: boolean;
  /** Until when other retries have claimed all that there is; null when they have claimed nothing. */
  readonly claimedUntilMs: number | null;
  /** How many of the attempts under way in this process are written down. */
  readonly written: number;
  /** The oldest hold of such a call of which no row is written yet. */
  readonly unwritten: { readonly holdId: string; readonly heldAtMs: number } | null;
  /** The open holds of such calls, by whatever attempt. */
  readonly heldIds: readonly string[];
};

type OutlookRow = {
  readonly claimable: boolean;
  readonly claimedUntil: Date | null;
  readonly written: number;
  readonly holdId: string | null;
  readonly heldAt: Date | null;
  readonly held: readonly string[];
};

/**
 * Which retry has which attempt. A row's lock decides, so it holds for any number of retries and processes: an attempt
 * is never two retries' at once. Throws what the database throws.
 */
@Injectable()
export class RetryClaims {
  constructor(private readonly dataSource: DataSource) {}

  /** Answers the id of the attempt that is this retry's now; null when there is none to take. */
  async claim(retry: Retry, nowMs: number): Promise<string | null> {
    const { accountId, apiKeyId, fingerprint, outputFormat, claim } = retry;
    const [found] = await this.run<{ id: string }>(CLAIM, [
      accountId,
      apiKeyId,
      fingerprint,
      iso(nowMs - RETRY_WINDOW_MS),
      iso(nowMs),
      claim,
      iso(nowMs + CLAIM_MS),
      outputFormat,
    ]);
    return found?.id ?? null;
  }

  /**
   * Takes an attempt whose answer was handed over in the last seconds, for a retry that found nothing else: something between
   * the two may have lost it.
   *
   * @param attempt which one asks; it gets answers of earlier ones only.
   */
  async claimAnswered(retry: Retry, attempt: number, nowMs: number): Promise<string | null> {
    const { accountId, apiKeyId, fingerprint, outputFormat, claim } = retry;
    const sinceMs = nowMs - ANSWERED_WINDOW_MS;
    const [found] = await this.run<{ id: string }>(CLAIM_ANSWERED, [
      accountId,
      apiKeyId,
      fingerprint,
      generationIdAt(sinceMs - CALL_MS_MAX),
      iso(sinceMs),
      claim,
      iso(nowMs + CLAIM_MS),
      outputFormat,
      attempt,
      iso(nowMs - PAUSE_MIN_MS),
    ]);
    return found?.id ?? null;
  }

  /** @param underWay attempts of this process at the same call. */
  async outlook(retry: Retry, underWay: readonly string[], nowMs: number): Promise<Outlook> {
    const { accountId, apiKeyId, fingerprint, outputFormat } = retry;
    const since = iso(nowMs - RETRY_WINDOW_MS);
    const [row] = await this.run<OutlookRow>(OUTLOOK, [
      accountId,
      apiKeyId,
      fingerprint,
      since,
      iso(nowMs),
      underWay,
      outputFormat,
    ]);
    const { holdId = null, heldAt = null, held = [] } = row ?? {};
    return {
      claimable: row?.claimable ?? false,
      claimedUntilMs: row?.claimedUntil?.getTime() ?? null,
      written: row?.written ?? 0,
      unwritten: holdId === null || heldAt === null ? null : { holdId, heldAtMs: heldAt.getTime() },
      heldIds: held,
    };
  }

  async renew({ accountId, claim }: Retry, id: string, nowMs: number): Promise<void> {
    await this.run(RENEW_CLAIM, [accountId, id, claim, iso(nowMs + CLAIM_MS)]);
  }

  /** The retry is over: with the attempt's answer, or without, and then the next one may take it. */
  async end({ accountId, claim }: Retry, id: string, retryCount: number, answered: boolean): Promise<void> {
    await this.run(END_CLAIM, [accountId, id, claim, stateAfter(answered), retryCount]);
  }

  /** An answer that was still under way when its outcome was written down has ended. */
  async endAnswer({ accountId, id }: GenerationKey, answered: boolean): Promise<void> {
    await this.run(END_ANSWER, [accountId, id, stateAfter(answered)]);
  }

  /** The answer was handed over, but its connection ended right behind it. */
  async doubt({ accountId, id }: GenerationKey): Promise<void> {
    await this.run(DOUBT, [accountId, id]);
  }

  /** Attempts that no retry can want any more. Answers how many, at most `limit`. */
  async forget(nowMs: number, limit: number): Promise<number> {
    return (await this.run(FORGET, [iso(nowMs - RETRY_WINDOW_MS), limit])).length;
  }

  private run<Row>(statement: Statement, values: readonly SqlValue[]): Promise<Row[]> {
    return runStatement(this.dataSource, statement, values);
  }
}

function stateAfter(answered: boolean): string | null {
  return answered ? null : 'abandoned';
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

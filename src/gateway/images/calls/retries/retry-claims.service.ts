import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { generationIdAt } from '../records/generation-filter.js';
import type { OutputFormat } from '../../providers/image-provider.js';
import type { GenerationKey } from '../records/generation.js';
import {
  CLAIM,
  CLAIM_ANSWERED,
  MARK_ABANDONED,
  END_ANSWER,
  END_CLAIM,
  FORGET,
  OUTLOOK,
  RENEW_CLAIM,
} from './retry-statements.js';

/**
 * Retries do not claim older attempts: OpenAI's SDKs stop waiting for an answer after ten minutes, and send the call again within
 * seconds.
 */
export const RETRY_WINDOW_MS = 15 * 60_000;

/**
 * For how long a retry may claim an answer that was fully sent: a proxy may have read it and then lost its client. OpenAI's SDKs
 * wait at most 8 s before they send a call again (longer only after our `retry-after`, which never accompanies an answer). The rest
 * is for noticing that the connection has ended, and for the network. A client that waits for its own time-out arrives later, and
 * its call is a new one.
 */
export const ANSWERED_WINDOW_MS = 30_000;
/** The shortest time that SDKs wait. The rule of the hold has the same constant, but BYOK calls must not import wallet code. */
const PAUSE_MIN_MS = 375;
/** Longer than a call takes from its beginning to its answer. */
export const CALL_MS_MAX = 120_000;

/** A claim expires after this unless it is renewed. It is renewed three times as often, so an expired claim means a dead process. */
export const CLAIM_MS = 6_000;

/** One retry: the call that it repeats, and the id under which it claims an attempt. */
export type Retry = {
  readonly accountId: string;
  readonly apiKeyId: string;
  readonly fingerprint: string;
  readonly outputFormat: OutputFormat | null;
  readonly claim: string;
};

/** The state of the same call's other attempts when none could be claimed. */
export type Outlook = {
  /** An attempt has become free in the meantime. */
  readonly claimable: boolean;
  /** When the last claim of other retries expires; null when there is none. */
  readonly claimedUntilMs: number | null;
  /** How many of the running attempts in this process have a row. */
  readonly written: number;
  /** The oldest hold for the call that has no row yet. */
  readonly unwritten: { readonly holdId: string; readonly heldAtMs: number } | null;
  /** The open holds for the call, of all attempts. */
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
 * Assigns attempts to retries. The row's lock decides, so an attempt never belongs to two retries at once, in any number of
 * processes. Throws what the database throws.
 */
@Injectable()
export class RetryClaims {
  constructor(private readonly dataSource: DataSource) {}

  /** Claims an attempt and returns its id; null when there is none to claim. */
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
   * Claims an attempt whose answer was sent in the last seconds, for a retry that found no other one: a proxy may have lost it.
   *
   * @param attempt the number of the retry. It only gets answers of attempts with smaller numbers.
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

  /** @param underWay the running attempts at the same call in this process. */
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

  /** Ends the claim of a retry. If its client did not receive the answer, the next retry may claim the attempt. */
  async end({ accountId, claim }: Retry, id: string, retryCount: number, answered: boolean): Promise<void> {
    await this.run(END_CLAIM, [accountId, id, claim, stateAfter(answered), retryCount]);
  }

  /** Records how an answer ended that was still being sent when the outcome was written. */
  async endAnswer({ accountId, id }: GenerationKey, answered: boolean): Promise<void> {
    await this.run(END_ANSWER, [accountId, id, stateAfter(answered)]);
  }

  /** Marks an attempt as abandoned whose answer was sent, but whose connection ended shortly afterwards. */
  async markAbandoned({ accountId, id }: GenerationKey): Promise<void> {
    await this.run(MARK_ABANDONED, [accountId, id]);
  }

  /** Removes attempts from the index that are too old for any retry. Returns how many, at most `limit`. */
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

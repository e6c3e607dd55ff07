import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { generationIdAt } from '../records/generation-filter.js';
import type { OutputFormat } from '../../providers/image-provider.js';
import type { GenerationKey } from '../records/generation.js';

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
export class RetryClaimsService {
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

/**
 * $1 account, $2 API key, $3 fingerprint, $4 the earliest creation time, $5 now, $6 and $7 the claim and its expiry, $8 the format
 * that the call names (`acceptsFormat`).
 * An attempt whose client is known to have disconnected comes first, then the oldest. Expired claims of dead processes do not count.
 * It waits for a locked row instead of skipping it, because an attempt that is just being written is probably the one to claim.
 */
export const CLAIM: Statement = {
  name: 'retry_claim',
  text: `
  WITH earlier AS (
    SELECT account_id, id FROM generations
     WHERE account_id = $1 AND api_key_id = $2 AND fingerprint = $3 AND retry_state IS NOT NULL AND created_at >= $4
       AND ($8::text IS NULL OR output_format = $8) AND (retry_state <> 'claimed' OR retry_claim_expires_at <= $5)
     ORDER BY retry_state = 'open', id LIMIT 1 FOR UPDATE)
  UPDATE generations g SET retry_state = 'claimed', retry_claim = $6, retry_claim_expires_at = $7
    FROM earlier WHERE g.account_id = earlier.account_id AND g.id = earlier.id
  RETURNING g.id`,
};

/**
 * $1 account, $2 API key, $3 fingerprint, $4 an id that is older than any call to be found, $5 the earliest end, $6 and $7 the claim
 * and its expiry, $8 the format, $9 the number of the retry, $10 the latest end for which an SDK may have sent a retry by now.
 * Finds answers that were sent to attempts with smaller numbers. Those that are old enough for an SDK to have waited come first,
 * newest first. A locked row is skipped, because another retry is claiming it.
 */
export const CLAIM_ANSWERED: Statement = {
  name: 'retry_claim_answered',
  text: `
  WITH answered AS (
    SELECT account_id, id FROM generations
     WHERE account_id = $1 AND id >= $4 AND api_key_id = $2 AND fingerprint = $3 AND status = 'succeeded'
       AND finished_at >= $5 AND retry_state IS NULL AND last_attempt < $9 AND images_deleted_at IS NULL
       AND ($8::text IS NULL OR output_format = $8)
     ORDER BY finished_at > $10, finished_at DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED)
  UPDATE generations g SET retry_state = 'claimed', retry_claim = $6, retry_claim_expires_at = $7, last_attempt = $9
    FROM answered WHERE g.account_id = answered.account_id AND g.id = answered.id
  RETURNING g.id`,
};

/**
 * Finds what a retry may have to wait for. The parameters are those of `CLAIM`, except that $6 are the ids of the running attempts in
 * its own process and $7 is the format. `unwritten` is the oldest hold for the call without a row, `held` are all open holds.
 */
export const OUTLOOK: Statement = {
  name: 'retry_outlook',
  text: `
  WITH attempts AS (
    SELECT retry_state, retry_claim_expires_at FROM generations
     WHERE account_id = $1 AND api_key_id = $2 AND fingerprint = $3 AND retry_state IS NOT NULL AND created_at >= $4
       AND ($7::text IS NULL OR output_format = $7))
  SELECT EXISTS (SELECT FROM attempts
                  WHERE retry_state <> 'claimed' OR retry_claim_expires_at <= $5) AS claimable,
         (SELECT max(retry_claim_expires_at) FROM attempts WHERE retry_claim_expires_at > $5) AS "claimedUntil",
         (SELECT count(*)::int FROM generations WHERE account_id = $1 AND id = ANY($6::text[])) AS written,
         unwritten.id AS "holdId", unwritten.created_at AS "heldAt",
         ARRAY(SELECT h.id FROM holds h
                WHERE h.account_id = $1 AND h.key_id = $2 AND h.status = 'authorized' AND h.fingerprint = $3) AS held
    FROM (SELECT) AS always
    LEFT JOIN LATERAL (
      SELECT h.id, h.created_at FROM holds h
       WHERE h.account_id = $1 AND h.key_id = $2 AND h.status = 'authorized' AND h.fingerprint = $3
         AND h.reference LIKE 'generation:%' AND h.created_at >= $4
         AND NOT EXISTS (SELECT FROM generations g
                          WHERE g.account_id = $1 AND g.id = substr(h.reference, length('generation:') + 1))
       ORDER BY h.created_at LIMIT 1) AS unwritten ON true`,
};

export const RENEW_CLAIM: Statement = {
  name: 'retry_renew_claim',
  text: `
  UPDATE generations SET retry_claim_expires_at = $4
   WHERE account_id = $1 AND id = $2 AND retry_state = 'claimed' AND retry_claim = $3`,
};

/** $4 is the attempt's new state for the next retry; null when this retry, whose number is $5, has received the answer. */
export const END_CLAIM: Statement = {
  name: 'retry_end_claim',
  text: `
  UPDATE generations SET retry_state = $4,
         last_attempt = CASE WHEN $4::text IS NULL THEN greatest(last_attempt, $5::smallint) ELSE last_attempt END
   WHERE account_id = $1 AND id = $2 AND retry_state = 'claimed' AND retry_claim = $3`,
};

/** Ends an attempt whose own client was still reading. A retry that has claimed it in the meantime keeps it. */
export const END_ANSWER: Statement = {
  name: 'retry_end_answer',
  text: `UPDATE generations SET retry_state = $3 WHERE account_id = $1 AND id = $2 AND retry_state = 'open'`,
};

/** Makes an answered attempt claimable again, because the connection ended shortly after the answer. */
export const MARK_ABANDONED: Statement = {
  name: 'retry_doubt',
  text: `
  UPDATE generations SET retry_state = 'abandoned'
   WHERE account_id = $1 AND id = $2 AND status = 'succeeded' AND retry_state IS NULL AND idempotency_key IS NULL`,
};

export const FORGET: Statement = {
  name: 'retry_forget',
  text: `
  UPDATE generations SET retry_state = NULL
   WHERE (account_id, id) IN (SELECT account_id, id FROM generations
                               WHERE retry_state IS NOT NULL AND created_at < $1 AND status = 'succeeded' LIMIT $2)
  RETURNING id`,
};

import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { runStatement, type Statement } from '../../../../platform/database/pipeline.js';
import { LOOKED_BEFORE_MS } from '../../../../money/wallets/rules/spending.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';
import { ClientGoneError, EarlierAttemptRunningError, OutcomeUnknownError } from '../generation.errors.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { Caller } from '../caller.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { GenerationAnswer } from '../generation-answer.js';
import { acceptsFormat, toFingerprint, type ImageRequest } from '../image-request.js';
import type { OutputFormat } from '../../providers/image-provider.js';
import { generationIdAt } from '../records/generation-filter.js';
import { GenerationReaderService } from '../records/generation-reader.service.js';
import { RunningGenerationsService } from '../running-generations.service.js';
import { createBackOff, waitForFirst } from './back-off.js';
import { CALL_MS_MAX, RetryClaimsService, type Retry } from './retry-claims.service.js';
import { UNWRITTEN_MS } from './retry-step.js';

/** The earlier answer that a repeated call has found. Without an answer the call has to run. */
export type Found = {
  readonly answer: GenerationAnswer | null;
  /** Open holds for the same request that belong to other calls: their own clients or other retries wait for them. */
  readonly otherCallsHoldIds: readonly string[];
};

export const NOTHING_FOUND: Found = { answer: null, otherCallsHoldIds: [] };

/**
 * $1 account, $2 an id that is older than any call to be found, $3 API key, $4 fingerprint, $5 the earliest end of a finished call,
 * $6 the earliest end for which its answer is repeated. Ids are ordered by time, so the primary key finds the last minutes quickly.
 */
const SAME_CALLS: Statement = {
  name: 'retry_same_calls',
  text: `
  SELECT id, status, output_format AS "outputFormat", hold_id AS "holdId",
         idempotency_key IS NULL AND images_deleted_at IS NULL AND coalesce(finished_at >= $6, true) AS "isRepeatable"
    FROM generations
   WHERE account_id = $1 AND id >= $2 AND api_key_id = $3 AND fingerprint = $4 AND status <> 'failed'
     AND (finished_at IS NULL OR finished_at >= $5)
   ORDER BY id`,
};

type SameCall = {
  readonly id: string;
  readonly status: GenerationStatus;
  readonly outputFormat: OutputFormat | null;
  readonly holdId: string | null;
  readonly isRepeatable: boolean;
};

/**
 * Finds duplicates for clients that repeat calls without announcing it, if the API key's owner has enabled this with
 * `duplicate_window_seconds`: the same request is the same call while it runs and for some seconds after its answer. When two of
 * them begin at the same time, the rule of the hold gives credit to one (`authorize`), and the other one searches again.
 */
@Injectable()
export class DuplicateCallsService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly claims: RetryClaimsService,
    private readonly reader: GenerationReaderService,
    private readonly idempotency: IdempotencyService,
    private readonly running: RunningGenerationsService,
    private readonly engine: WalletEngine,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Behaves as `RetriedCallsService.find`. */
  async join(
    request: ImageRequest,
    { principal, limits }: Pick<Caller, 'principal' | 'limits'>,
  ): Promise<Found> {
    const { accountId, keyId: apiKeyId, duplicateWindowSeconds } = principal;
    const { outputFormat } = request;
    const call = {
      accountId,
      apiKeyId,
      fingerprint: toFingerprint(request),
      outputFormat,
      claim: randomUUID(),
    };
    const deadlineMs = this.clock.nowMs() + this.limits.callDeadlineMs;
    let isGone = false;
    const left = new Promise<void>((resolve) => limits.onAnswerEnd(resolve)).then(() => (isGone = true));
    const pause = createBackOff();
    for (;;) {
      if (isGone) throw new ClientGoneError();
      const nowMs = this.clock.nowMs();
      const same = await this.find(call, nowMs, duplicateWindowSeconds);
      const isEarlier = (one: SameCall): boolean =>
        one.isRepeatable && acceptsFormat(outputFormat, one.outputFormat);
      const earlier = same.find(isEarlier);
      if (earlier?.status === 'succeeded') {
        const stored = await this.reader.find({ accountId, id: earlier.id });
        if (stored !== null && stored.imagesDeletedAtMs === null) return this.toFound(stored);
        continue;
      }
      if (earlier?.status === 'unresolved') throw new OutcomeUnknownError();
      if (nowMs >= deadlineMs) throw new EarlierAttemptRunningError();
      const id = earlier?.id ?? this.running.findUnkeyedIds(call)[0];
      if (id !== undefined) {
        await waitForFirst(this.running.ended(id), left, pause());
        continue;
      }
      const { unwritten } = await this.claims.outlook(call, [], nowMs);
      if (unwritten === null || (await this.isDead(call, unwritten, nowMs))) {
        return { answer: null, otherCallsHoldIds: same.flatMap(({ holdId }) => holdId ?? []) };
      }
      await waitForFirst(null, left, pause());
    }
  }

  private find(call: Retry, nowMs: number, windowSeconds: number): Promise<SameCall[]> {
    const { accountId, apiKeyId, fingerprint } = call;
    const windowMs = windowSeconds * 1_000;
    // The calls that the rule of the hold considers have to be found here, even if the window is shorter.
    const sinceMs = nowMs - Math.max(windowMs, 2 * LOOKED_BEFORE_MS);
    const values = [accountId, generationIdAt(sinceMs - CALL_MS_MAX), apiKeyId, fingerprint];
    return runStatement(this.dataSource, SAME_CALLS, [...values, iso(sinceMs), iso(nowMs - windowMs)]);
  }

  private async toFound(earlier: Parameters<IdempotencyService['replay']>[0]): Promise<Found> {
    return { answer: await this.idempotency.replay(earlier), otherCallsHoldIds: [] };
  }

  /** Voids a hold whose row was not written in time, and returns whether it was void. That call then charges nothing, dead or not. */
  private async isDead(
    { accountId }: Retry,
    { holdId, heldAtMs }: { readonly holdId: string; readonly heldAtMs: number },
    nowMs: number,
  ): Promise<boolean> {
    if (nowMs - heldAtMs < UNWRITTEN_MS) return false;
    const outcome = await this.engine.execute({ type: 'void', accountId, holdId, actor: 'system' });
    return outcome.type === 'hold';
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

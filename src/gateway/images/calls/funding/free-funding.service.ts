import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { encodeTime } from 'ulid';
import { type Clock, DAY_MS } from '../../../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { readRows } from '../../../../platform/database/data-source.js';
import type { KeyedProvider } from '../../../provider-keys/provider-key.js';
import { RateLimitExceededError } from '../../../../identity/rate-limits/rate-limit.errors.js';
import { RateLimiter } from '../../../../identity/rate-limits/rate-limiter.service.js';
import { FreeImagesUsedUpError } from '../generation.errors.js';
import type { Caller } from '../caller.js';
import type { ImageRequest } from '../image-request.js';
import { GenerationReaderService } from '../records/generation-reader.service.js';
import { chargeNothing, type Charge, type Funding } from './funding.js';

/**
 * The primary key finds the day's calls quickly, because an id contains the time at which its process made it. Whether a call
 * belongs to the day is decided by `created_at`, which is the database's time. Images that were not delivered are not counted.
 */
const USED_SINCE = `
  SELECT coalesce(sum(CASE WHEN status = 'succeeded' THEN images_delivered ELSE images_requested END), 0)::int AS used,
         EXISTS (SELECT FROM provider_keys
                  WHERE account_id = $1 AND provider = ANY($3::text[]) AND removed_at IS NULL) AS "hasOwnKey"
    FROM generations
   WHERE account_id = $1 AND id >= $2 AND created_at >= $4 AND price_micros = 0 AND provider_key_id IS NULL AND status <> 'failed'`;

/** Whether a free call may be made; not when the account has its own key for it, which another process has attached. */
export type FreeAdmission = 'admitted' | 'own_key_attached';

/**
 * Funds the calls of free models, which cost the customer nothing, and limits them. No wallet limits them, and we pay their
 * provider, so they have a lower rate limit and a limit of images a day. The day's count is read before the call without a lock: calls that arrive at the same moment may exceed it
 * together, by no more than the calls of one minute.
 */
@Injectable()
export class FreeFundingService implements Funding {
  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReaderService,
    private readonly dataSource: DataSource,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit' | 'freeImagesPerDay'>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Rejects with `RateLimitExceededError` or `FreeImagesUsedUpError` (429), and with what the database throws. */
  async admit(
    { images }: ImageRequest,
    { principal, idempotencyKey, limits }: Caller,
    unlessOwnKeyAt: readonly KeyedProvider[],
  ): Promise<FreeAdmission> {
    const { accountId } = principal;
    // A repeated call receives the earlier answer and makes no images, so it is not counted.
    if (idempotencyKey !== null && (await this.reader.findByIdempotencyKey(accountId, idempotencyKey))) {
      return 'admitted';
    }
    if (this.settings.rateLimit) {
      const usages = await this.limiter.count('free_images', principal);
      limits.show(usages);
      const exceeded = usages.find((usage) => usage.exceeded);
      if (exceeded !== undefined) throw new RateLimitExceededError(exceeded);
    }
    const nowMs = this.clock.nowMs();
    const dayMs = nowMs - (nowMs % DAY_MS);
    const firstId = `gen_${encodeTime(dayMs - DAY_MS)}`;
    const [row] = await readRows<{ used: number; hasOwnKey: boolean }>(this.dataSource, USED_SINCE, [
      accountId,
      firstId,
      unlessOwnKeyAt,
      new Date(dayMs).toISOString(),
    ]);
    if (row?.hasOwnKey === true) return 'own_key_attached';
    const max = this.settings.freeImagesPerDay;
    const used = row?.used ?? 0;
    if (used + images > max) throw new FreeImagesUsedUpError({ max, used, resetsAtMs: dayMs + DAY_MS });
    return 'admitted';
  }

  authorize(): Promise<void> {
    return Promise.resolve();
  }

  capture(_generation: unknown, images: number): Promise<Charge> {
    return Promise.resolve(chargeNothing(images));
  }
}

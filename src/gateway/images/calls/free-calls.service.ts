import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { encodeTime } from 'ulid';
import type { Clock } from '../../../platform/common/clock.js';
import { DAY_MS } from '../../../platform/common/utc-time.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { readRows } from '../../../platform/database/read-repeating-data-source.js';
import type { KeyedProvider } from '../../provider-keys/keyed-provider.js';
import { RateLimitExceededError } from '../../../identity/rate-limits/rate-limit.errors.js';
import { RateLimiter } from '../../../identity/rate-limits/rate-limiter.service.js';
import { ProviderKeyAttachedError } from '../../../money/wallets/wallet.errors.js';
import { FreeImagesUsedUpError } from './generation.errors.js';
import type { Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import { GenerationReader } from './records/generation-reader.service.js';

/**
 * The key finds the calls: an id tells about when its process says that it was made. Which day counts is decided by the row's own
 * time, the database's. What was not delivered is not counted.
 */
const USED_SINCE = `
  SELECT coalesce(sum(CASE WHEN status = 'succeeded' THEN images_delivered ELSE images_requested END), 0)::int AS used,
         EXISTS (SELECT FROM provider_keys
                  WHERE account_id = $1 AND provider = ANY($3::text[]) AND removed_at IS NULL) AS "hasOwnKey"
    FROM generations
   WHERE account_id = $1 AND id >= $2 AND created_at >= $4 AND price_micros = 0 AND provider_key_id IS NULL AND status <> 'failed'`;

/**
 * A free model has no wallet that would stop anybody, and we pay its provider. So its calls are counted more closely
 * than the others, and its images by the day. The day's count is read before the call, not locked: calls that come
 * in the same moment may pass it together, by no more than the calls of a minute.
 */
@Injectable()
export class FreeCalls {
  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReader,
    private readonly dataSource: DataSource,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit' | 'freeImagesPerDay'>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Rejects with `RateLimitExceededError` or `FreeImagesUsedUpError` (429), with `ProviderKeyAttachedError` when the account
   * has a key of its own at one of these providers, and with what the database throws.
   */
  async admit(
    { images }: ImageRequest,
    { principal, idempotencyKey, limits }: Caller,
    unlessOwnKeyAt: readonly KeyedProvider[],
  ): Promise<void> {
    const { accountId } = principal;
    // A repeated call is answered with what was made before; it makes nothing.
    if (idempotencyKey !== null && (await this.reader.findByIdempotencyKey(accountId, idempotencyKey)))
      return;
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
    if (row?.hasOwnKey === true) throw new ProviderKeyAttachedError();
    const max = this.settings.freeImagesPerDay;
    const used = row?.used ?? 0;
    if (used + images > max) throw new FreeImagesUsedUpError({ max, used, resetsAtMs: dayMs + DAY_MS });
  }
}

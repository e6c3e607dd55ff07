import { Inject, Injectable } from '@nestjs/common';
import type { AccountPrincipal } from '../auth/principal.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { RateLimitExceededError } from '../rate-limits/rate-limit.errors.js';
import { RateLimiter } from '../rate-limits/rate-limiter.service.js';

/** A free model has no wallet that would stop anybody, so its calls are counted more closely than the others. */
@Injectable()
export class FreeCalls {
  constructor(
    private readonly limiter: RateLimiter,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  /** Counts one call. Rejects with `RateLimitExceededError` (429) when it is one too many. */
  async admit(principal: AccountPrincipal): Promise<void> {
    if (!this.settings.rateLimit) return;
    const usages = await this.limiter.count('free_images', principal);
    const exceeded = usages.find((usage) => usage.exceeded);
    if (exceeded !== undefined) {
      throw new RateLimitExceededError(exceeded.limit, exceeded.max, exceeded.resetMs);
    }
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import type { FailedAuthentications } from '../auth/failed-authentications.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { addressGroup } from './address-group.js';
import { FAILED_AUTHENTICATIONS_MAX, WINDOW_SECONDS } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';

const LIMIT = 'failed-authentications-per-address';

/**
 * In memory only: each process protects itself and its own database connection, and a flood of bad keys must
 * not become a flood of Redis commands.
 */
@Injectable()
export class FailedAuthenticationCounter implements FailedAuthentications {
  private readonly counter = new RateLimiterMemory({
    points: FAILED_AUTHENTICATIONS_MAX,
    duration: WINDOW_SECONDS,
  });

  constructor(@Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>) {}

  async refusalFor(address: string): Promise<RateLimitExceededError | null> {
    if (!this.settings.rateLimit) return null;
    const usage = await this.counter.get(addressGroup(address));
    if (usage === null || usage.msBeforeNext <= 0 || usage.consumedPoints < FAILED_AUTHENTICATIONS_MAX)
      return null;
    return new RateLimitExceededError({
      limit: LIMIT,
      max: FAILED_AUTHENTICATIONS_MAX,
      resetMs: usage.msBeforeNext,
    });
  }

  async record(address: string): Promise<void> {
    if (this.settings.rateLimit) await this.counter.penalty(addressGroup(address));
  }
}

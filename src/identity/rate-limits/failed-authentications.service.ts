import { Inject, Injectable } from '@nestjs/common';
import type { FailedAuthentications } from '../auth/failed-authentications.js';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { AddressWindows } from './address-windows.js';
import { FAILED_AUTHENTICATIONS_MAX } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';

const LIMIT = 'failed-authentications-per-address';

@Injectable()
export class FailedAuthenticationCounter implements FailedAuthentications {
  private readonly windows: AddressWindows;

  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.windows = new AddressWindows(FAILED_AUTHENTICATIONS_MAX, clock);
  }

  refusalFor(address: string): Promise<RateLimitExceededError | null> {
    const resetMs = this.settings.rateLimit ? this.windows.getWaitMs(address) : null;
    if (resetMs === null) return Promise.resolve(null);
    return Promise.resolve(
      new RateLimitExceededError({ limit: LIMIT, max: FAILED_AUTHENTICATIONS_MAX, resetMs }),
    );
  }

  record(address: string): Promise<void> {
    if (this.settings.rateLimit) this.windows.count(address);
    return Promise.resolve();
  }
}

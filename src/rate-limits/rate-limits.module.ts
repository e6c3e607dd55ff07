import { Global, Module } from '@nestjs/common';
import { FAILED_AUTHENTICATIONS } from '../auth/failed-authentications.js';
import { CallSlots } from './call-slots.service.js';
import { FailedAuthenticationCounter } from './failed-authentications.service.js';
import { RateLimiter } from './rate-limiter.service.js';
import { RedisConnection } from './redis-connection.js';
import { WindowCounter } from './window-counter.service.js';

/** Global, because `auth/`, which stands below it, reports refused keys to it, and any route may be limited. */
@Global()
@Module({
  providers: [
    RedisConnection,
    WindowCounter,
    CallSlots,
    RateLimiter,
    { provide: FAILED_AUTHENTICATIONS, useClass: FailedAuthenticationCounter },
  ],
  exports: [RateLimiter, FAILED_AUTHENTICATIONS],
})
export class RateLimitsModule {}

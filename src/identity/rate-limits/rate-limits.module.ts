import { Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { FAILED_AUTHENTICATIONS } from '../auth/auth.guard.js';
import { RateLimiter } from './rate-limiter.service.js';
import { FailedAuthenticationCounter, RateLimitGuard } from './rate-limit.guard.js';
import { RedisConnection } from './redis-connection.js';

/**
 * It is global, because `auth/`, which is below it, reports refused keys to it, and every route is limited. Its guard needs the
 * caller, and guards run in the order of their modules, so list it after `AuthModule`.
 */
@Global()
@Module({
  providers: [
    RedisConnection,
    RateLimiter,
    { provide: APP_GUARD, useClass: RateLimitGuard },
    { provide: FAILED_AUTHENTICATIONS, useClass: FailedAuthenticationCounter },
  ],
  exports: [RateLimiter, FAILED_AUTHENTICATIONS],
})
export class RateLimitsModule {}

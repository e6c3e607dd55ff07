import { Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { CLOCK, type Clock, type MonotonicClock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { AuthGuard, Authenticator, EnvironmentOperatorKey, KeyUses } from './auth.guard.js';
import { CredentialCache, CREDENTIALS, type Credentials } from './credentials.js';

/**
 * Identifies the caller. The two ports it needs come from modules above it, which are global for that reason:
 * `CREDENTIALS` from api-keys, `FAILED_AUTHENTICATIONS` from rate-limits.
 */
@Module({
  providers: [
    {
      provide: CredentialCache,
      inject: [CREDENTIALS, CLOCK],
      useFactory: (credentials: Credentials, clock: MonotonicClock) =>
        new CredentialCache(credentials, clock),
    },
    {
      provide: EnvironmentOperatorKey,
      inject: [SETTINGS],
      useFactory: (settings: Settings) => new EnvironmentOperatorKey(settings),
    },
    { provide: KeyUses, inject: [LEDGER_CLOCK], useFactory: (clock: Clock) => new KeyUses(clock) },
    Authenticator,
    AuthGuard,
    { provide: APP_GUARD, useExisting: AuthGuard },
  ],
  exports: [CredentialCache, KeyUses, AuthGuard],
})
export class AuthModule {}

import { type DynamicModule, Module } from '@nestjs/common';
import { AccountsModule } from './accounts/accounts.module.js';
import { ApiKeysModule } from './api-keys/api-keys.module.js';
import { AuditModule } from './audit/audit.module.js';
import { AuthModule } from './auth/auth.module.js';
import { CatalogModule } from './catalog/catalog.module.js';
import { CommonModule } from './common/common.module.js';
import { ConfigModule } from './config/config.module.js';
import type { Settings } from './config/settings.js';
import { DatabaseModule } from './database/database.module.js';
import { DebitsModule } from './debits/debits.module.js';
import { FinanceModule } from './finance/finance.module.js';
import { GenerationModule } from './generation/generation.module.js';
import { HealthModule } from './health/health.module.js';
import { PagesModule } from './http/pages/pages.module.js';
import { sandboxSentence } from './http/pages/sandbox-banner.js';
import { JobsModule } from './jobs/jobs.module.js';
import { KeyVaultModule } from './key-vault/key-vault.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { NotificationsModule } from './notifications/notifications.module.js';
import { PaymentsModule } from './payments/payments.module.js';
import { PricingModule } from './pricing/pricing.module.js';
import { AccountLimitsModule } from './rate-limits/accounts/account-limits.module.js';
import { RateLimitsModule } from './rate-limits/rate-limits.module.js';
import { localUrl } from './startup/local-url.js';
import { TopUpsModule } from './top-ups/top-ups.module.js';
import { UsageModule } from './usage/usage.module.js';
import { WalletsModule } from './wallets/wallets.module.js';

const FOUNDATION = [CommonModule, DatabaseModule, JobsModule, HealthModule];
const FEATURES = [
  AuthModule,
  AuditModule,
  RateLimitsModule,
  AccountsModule,
  AccountLimitsModule,
  ApiKeysModule,
  WalletsModule,
  PricingModule,
  DebitsModule,
  NotificationsModule,
  PaymentsModule,
  TopUpsModule,
  KeyVaultModule,
  CatalogModule,
  GenerationModule,
  UsageModule,
  FinanceModule,
];

/** The whole service. Who may import what is a table in test/unit/import-rules.spec.ts. */
@Module({})
export class AppModule {
  /** `simulated`: outside parts that a stand-in plays; every page names them. */
  static with(settings: Settings, simulated: readonly string[] = []): DynamicModule {
    const publicUrl = (settings.publicUrl?.href ?? localUrl(settings)).replace(/\/+$/, '');
    const pages = PagesModule.with({ publicUrl, sandbox: sandboxSentence(simulated) });
    const configured = [ConfigModule.with(settings), MetricsModule.with(settings), pages];
    return { module: AppModule, imports: [...configured, ...FOUNDATION, ...FEATURES] };
  }
}

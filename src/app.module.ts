import { type DynamicModule, Module } from '@nestjs/common';
import { AccountsModule } from './identity/accounts/accounts.module.js';
import { ApiKeysModule } from './identity/api-keys/api-keys.module.js';
import { AuditModule } from './identity/audit-log/audit.module.js';
import { AuthModule } from './identity/auth/auth.module.js';
import { CatalogModule } from './gateway/catalog/catalog.module.js';
import { CommonModule } from './platform/common/common.module.js';
import { ConfigModule } from './platform/config/config.module.js';
import type { Settings } from './platform/config/settings.js';
import { DatabaseModule } from './platform/database/database.module.js';
import { DebitsModule } from './money/debits/debits.module.js';
import { ExportsModule } from './finance/exports/exports.module.js';
import { ProviderCostsModule } from './finance/provider-costs/provider-costs.module.js';
import { ReconciliationModule } from './finance/reconciliation/reconciliation.module.js';
import { GenerationModule } from './gateway/images/images.module.js';
import { HealthModule } from './platform/health/health.module.js';
import { PagesModule } from './website/pages.module.js';
import { sandboxSentence } from './platform/http/pages/page.js';
import { JobMetricsModule } from './platform/jobs/job-metrics.module.js';
import { JobsModule } from './platform/jobs/jobs.module.js';
import { KeyVaultModule } from './gateway/provider-keys/key-vault.module.js';
import { MetricsModule } from './platform/metrics/metrics.module.js';
import { NotificationsModule } from './notifications/notifications.module.js';
import { StripeModule } from './payments/stripe/stripe.module.js';
import { PricingModule } from './money/pricing/pricing.module.js';
import { AccountLimitsModule } from './identity/rate-limits/accounts/account-limits.module.js';
import { RateLimitsModule } from './identity/rate-limits/rate-limits.module.js';
import { localUrl } from './platform/config/local-url.js';
import { SpendLimitsModule } from './money/spend-limits/spend-limits.module.js';
import { PaymentsModule } from './payments/payments.module.js';
import { UsageModule } from './gateway/usage/usage.module.js';
import { WalletsModule } from './money/wallets/wallets.module.js';

const FOUNDATION = [CommonModule, DatabaseModule, JobsModule, JobMetricsModule, HealthModule];
const FEATURES = [
  AuthModule,
  AuditModule,
  RateLimitsModule,
  AccountsModule,
  AccountLimitsModule,
  ApiKeysModule,
  WalletsModule,
  SpendLimitsModule,
  PricingModule,
  DebitsModule,
  NotificationsModule,
  StripeModule,
  PaymentsModule,
  KeyVaultModule,
  CatalogModule,
  GenerationModule,
  UsageModule,
  ReconciliationModule,
  ProviderCostsModule,
  ExportsModule,
];

/** The whole service. Who may import what is a table in test/unit/import-rules.spec.ts. */
@Module({})
export class AppModule {
  /** `simulated` lists the outside parts that are simulated; every page names them. */
  static with(settings: Settings, simulated: readonly string[] = []): DynamicModule {
    const publicUrl = (settings.publicUrl?.href ?? localUrl(settings)).replace(/\/+$/, '');
    const pages = PagesModule.with({ publicUrl, sandbox: sandboxSentence(simulated) });
    const configured = [ConfigModule.with(settings), MetricsModule.with(settings), pages];
    return { module: AppModule, imports: [...configured, ...FOUNDATION, ...FEATURES] };
  }
}

import { Module } from '@nestjs/common';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { HealthChecks } from '../../platform/health/health.service.js';
import { ENGINE_OBSERVER, ENGINE_OPTIONS, WalletEngine, type EngineOptions } from './wallet-engine.js';
import { EngineMetrics } from './wallets.metrics.js';
import { HoldSweepJob } from './hold-sweep.job.js';
import { LotExpiryJob } from './lot-expiry.job.js';
import { SpendingCheckService } from './spending-check.service.js';
import { WalletStore } from './store/wallet-store.js';
import { WalletOperationsController } from './wallet-operations.controller.js';
import { WalletOperationsService } from './wallet-operations.service.js';
import { WalletReaderService } from './wallet-reader.service.js';
import { WalletThresholdsService } from './wallet-thresholds.service.js';
import { WalletController } from './wallet.controller.js';

/** Money commands are decided within milliseconds, and within a second when a connection has fallen silent. */
const COMMAND_WAIT_MS_MAX = 3_000;

@Module({
  imports: [AccountsModule, JobsModule],
  controllers: [WalletController, WalletOperationsController],
  providers: [
    {
      provide: ENGINE_OPTIONS,
      inject: [SETTINGS],
      useFactory: ({ engineLanes, engineOverlapFrom }: Settings): EngineOptions => ({
        lanes: engineLanes,
        overlapFrom: engineOverlapFrom,
      }),
    },
    EngineMetrics,
    { provide: ENGINE_OBSERVER, useExisting: EngineMetrics },
    WalletStore,
    WalletEngine,
    SpendingCheckService,
    WalletThresholdsService,
    WalletReaderService,
    WalletOperationsService,
    HoldSweepJob,
    LotExpiryJob,
  ],
  exports: [WalletEngine, SpendingCheckService, WalletThresholdsService, WalletReaderService],
})
export class WalletsModule {
  constructor(checks: HealthChecks, engine: WalletEngine) {
    checks.add('engine', () => engine.oldestWaitMs() <= COMMAND_WAIT_MS_MAX);
  }
}

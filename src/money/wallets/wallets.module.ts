import { Module } from '@nestjs/common';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { HealthChecks } from '../../platform/health/health.service.js';
import { ENGINE_OBSERVER, ENGINE_OPTIONS, WalletEngine, type EngineOptions } from './wallet-engine.js';
import { EngineMetrics } from './wallets.metrics.js';
import { HoldSweepJob } from './hold-sweep.job.js';
import { LotExpiryJob } from './lot-expiry.job.js';
import { SpendingCheck } from './spending-check.service.js';
import { WalletStore } from './store/wallet-store.js';
import { WalletOperationsController } from './wallet-operations.controller.js';
import { WalletOperations } from './wallet-operations.service.js';
import { WalletReader } from './wallet-reader.service.js';
import { WalletMarks } from './wallet-marks.service.js';
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
    SpendingCheck,
    WalletMarks,
    WalletReader,
    WalletOperations,
    HoldSweepJob,
    LotExpiryJob,
  ],
  exports: [WalletEngine, SpendingCheck, WalletMarks, WalletReader],
})
export class WalletsModule {
  constructor(checks: HealthChecks, engine: WalletEngine) {
    checks.add('engine', () => engine.oldestWaitMs() <= COMMAND_WAIT_MS_MAX);
  }
}

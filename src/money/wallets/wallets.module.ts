import { Module } from '@nestjs/common';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { HoldSweepJob } from './hold-sweep.job.js';
import { LotExpiryJob } from './lot-expiry.job.js';
import { SpendingCheck } from './spending-check.service.js';
import { WalletStore } from './store/wallet-store.js';
import { ENGINE_OPTIONS, WalletEngine, type EngineOptions } from './wallet-engine.js';
import { WalletOperationsController } from './wallet-operations.controller.js';
import { WalletOperations } from './wallet-operations.service.js';
import { WalletReader } from './wallet-reader.service.js';
import { WalletMarks } from './wallet-marks.service.js';
import { WalletController } from './wallet.controller.js';

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
export class WalletsModule {}

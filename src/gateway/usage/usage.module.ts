import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { CatalogModule } from '../catalog/catalog.module.js';
import { GenerationModule } from '../images/images.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { AccountUsageController } from './account-usage.controller.js';
import { UsageAnswersService } from './usage-answers.service.js';
import { UsageDayEntity } from './usage-day.entity.js';
import { USAGE_LIMITS, usageLimits } from './usage-limits.js';
import { UsageProgressEntity } from './usage-progress.entity.js';
import { UsageQueueEntity } from './usage-queue.entity.js';
import { UsageReaderService } from './usage-reader.service.js';
import { UsageRollUpJob } from './usage-roll-up.job.js';
import { UsageRollUpService } from './usage-roll-up.service.js';
import { UsageController } from './usage.controller.js';

@Module({
  imports: [
    TypeOrmModule.forFeature([UsageDayEntity, UsageProgressEntity, UsageQueueEntity]),
    AccountsModule,
    CatalogModule,
    GenerationModule,
    JobsModule,
    WalletsModule,
  ],
  controllers: [UsageController, AccountUsageController],
  providers: [
    { provide: USAGE_LIMITS, useFactory: () => ({ ...usageLimits }) },
    UsageAnswersService,
    UsageReaderService,
    UsageRollUpService,
    UsageRollUpJob,
  ],
})
export class UsageModule {}

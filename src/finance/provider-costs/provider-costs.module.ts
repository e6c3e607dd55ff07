import { Module } from '@nestjs/common';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { UpstreamAccrualJob } from './upstream-accrual.job.js';
import { UpstreamAccrualsService } from './upstream-accruals.service.js';

@Module({ imports: [JobsModule, WalletsModule], providers: [UpstreamAccrualJob, UpstreamAccrualsService] })
export class ProviderCostsModule {}

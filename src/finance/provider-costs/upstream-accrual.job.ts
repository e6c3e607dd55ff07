import { Injectable } from '@nestjs/common';
import { JobRegistry, type Job } from '../../platform/jobs/job-queue.js';
import { UpstreamAccrualsService } from './upstream-accruals.service.js';

/** Books what providers charged us when the day is over, and runs twice more in case a run failed. */
@Injectable()
export class UpstreamAccrualJob implements Job {
  readonly name = 'upstream_accrual';
  readonly crontab = '20 0,4,8 * * *';

  constructor(
    registry: JobRegistry,
    private readonly accruals: UpstreamAccrualsService,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    await this.accruals.bookDaysThatEnded();
  }
}

import { Injectable } from '@nestjs/common';
import { JobRegistry, type Job, type JobContext, type JobPayload } from '../../platform/jobs/job-queue.js';
import { UsageRollUpService } from './usage-roll-up.service.js';

/** Runs every minute, so that few rows have to be read one by one. */
@Injectable()
export class UsageRollUpJob implements Job {
  readonly name = 'usage_roll_up';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly rollUp: UsageRollUpService,
  ) {
    registry.register(this);
  }

  async run(_payload: JobPayload, { signal }: JobContext): Promise<void> {
    await this.rollUp.catchUp(signal);
  }
}

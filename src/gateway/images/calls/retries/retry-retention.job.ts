import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { JobRegistry, type Job } from '../../../../platform/jobs/job-queue.js';
import { RetryClaimsService } from './retry-claims.service.js';

/** How many rows one statement changes, so that none holds its locks for long. */
const BATCH_MAX = 1_000;

/** Removes attempts that no retry claimed from the index that retries search, so that it only holds the last minutes. */
@Injectable()
export class RetryRetentionJob implements Job {
  readonly name = 'retry_retention';
  readonly crontab = '*/10 * * * *';

  constructor(
    registry: JobRegistry,
    private readonly claims: RetryClaimsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    while ((await this.claims.forget(this.clock.nowMs(), BATCH_MAX)) === BATCH_MAX);
  }
}

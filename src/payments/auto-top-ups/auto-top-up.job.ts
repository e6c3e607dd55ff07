import { Injectable } from '@nestjs/common';
import { payloadText, type Job, type JobPayload, JobRegistry } from '../../platform/jobs/job-queue.js';
import { AUTO_TOP_UP_JOB } from '../../money/wallets/signal-jobs.js';
import { AutoTopUpChargesService } from './auto-top-up-charges.service.js';

/** Queued by the wallet engine when available credit falls below the account's threshold, and for every later check. */
@Injectable()
export class AutoTopUpJob implements Job {
  readonly name = AUTO_TOP_UP_JOB;

  constructor(
    registry: JobRegistry,
    private readonly charges: AutoTopUpChargesService,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload): Promise<void> {
    await this.charges.check(payloadText(payload, 'account_id'));
  }
}

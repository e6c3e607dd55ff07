import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { JobQueue } from '../../../platform/jobs/job-queue.js';
import { JobRegistry } from '../../../platform/jobs/job-registry.js';
import type { Job } from '../../../platform/jobs/job.js';
import { ProviderKeyErasure } from './provider-key-erasure.service.js';
import { ProviderKeyRewrap } from './provider-key-rewrap.service.js';

/** Erases what was removed, then wraps the rest under the newest master key. Also at start: that is when keys change. */
@Injectable()
export class ProviderKeyUpkeepJob implements Job, OnApplicationBootstrap {
  readonly name = 'provider_key_upkeep';
  readonly crontab = '*/10 * * * *';
  private readonly logger = new Logger(ProviderKeyUpkeepJob.name);

  constructor(
    registry: JobRegistry,
    private readonly queue: JobQueue,
    private readonly erasure: ProviderKeyErasure,
    private readonly rewrap: ProviderKeyRewrap,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'runJobs'>,
  ) {
    registry.register(this);
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.settings.runJobs) return;
    await this.queue.add(this.name, {}, { jobKey: this.name }).catch((error: unknown) => {
      this.logger.warn({ err: error }, 'Provider keys are looked after ten minutes later');
    });
  }

  async run(): Promise<void> {
    await this.erasure.run();
    await this.rewrap.run();
  }
}

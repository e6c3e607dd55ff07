import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { JobQueue, JobRegistry, type Job } from '../../../platform/jobs/job-queue.js';
import { ProviderKeyErasureService } from './provider-key-erasure.service.js';
import { ProviderKeyRewrapService } from './provider-key-rewrap.service.js';

/** Erases removed keys, then wraps the others with the newest master key. It also runs at the start, when master keys change. */
@Injectable()
export class ProviderKeyUpkeepJob implements Job, OnApplicationBootstrap {
  readonly name = 'provider_key_upkeep';
  readonly crontab = '*/10 * * * *';
  private readonly logger = new Logger(ProviderKeyUpkeepJob.name);

  constructor(
    registry: JobRegistry,
    private readonly queue: JobQueue,
    private readonly erasure: ProviderKeyErasureService,
    private readonly rewrap: ProviderKeyRewrapService,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'runJobs'>,
  ) {
    registry.register(this);
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.settings.runJobs) return;
    await this.queue.add(this.name, {}, { jobKey: this.name }).catch((error: unknown) => {
      const event = 'provider_key.upkeep_not_queued';
      this.logger.warn(
        { event, err: error },
        'The upkeep of provider keys could not be queued; it runs within ten minutes',
      );
    });
  }

  async run(): Promise<void> {
    await this.erasure.run();
    await this.rewrap.run();
  }
}

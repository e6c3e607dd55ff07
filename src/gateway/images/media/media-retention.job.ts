import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { JobRegistry, type Job } from '../../../platform/jobs/job-queue.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { retentionMs, MEDIA_STORE, type MediaStore } from './media-store.js';

/** Deletes images past their retention time. Afterwards the idempotency keys of their calls are refused as used. */
@Injectable()
export class MediaRetentionJob implements Job {
  readonly name = 'media_retention';
  readonly crontab = '43 * * * *';
  private readonly logger = new Logger(MediaRetentionJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'mediaRetentionDays'>,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const days = await this.media.removeBefore(this.clock.nowMs() - retentionMs(this.settings));
    if (days > 0) {
      this.logger.log(
        { event: 'media.expired_deleted', days },
        'Images past their retention time were deleted',
      );
    }
  }
}

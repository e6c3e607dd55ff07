import { Inject, Injectable, Logger } from '@nestjs/common';
import { CLOCK, type Clock } from '../../common/clock.js';
import { JobRegistry } from '../../jobs/job-registry.js';
import type { Job } from '../../jobs/job.js';
import { SETTINGS, type Settings } from '../../config/settings.js';
import { GenerationRecords } from '../records/generation-records.service.js';
import { retentionMs } from './media-retention.js';
import { MEDIA_STORE, type MediaStore } from './media-store.js';

/** Rows a statement, so that none holds its locks for long. */
const KEYS_BATCH_MAX = 1_000;

/**
 * Deletes images past their retention time, and forgets the idempotency keys whose answers those were: a
 * key that can no longer be replayed is free for a new call.
 */
@Injectable()
export class MediaRetentionJob implements Job {
  readonly name = 'media_retention';
  readonly crontab = '43 * * * *';
  private readonly logger = new Logger(MediaRetentionJob.name);

  constructor(
    registry: JobRegistry,
    private readonly records: GenerationRecords,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'mediaRetentionDays'>,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const beforeMs = this.clock.nowMs() - retentionMs(this.settings);
    // The keys first: an answer that is half gone must never be replayed.
    while ((await this.records.forgetKeys(beforeMs, KEYS_BATCH_MAX)) === KEYS_BATCH_MAX);
    const days = await this.media.removeBefore(beforeMs);
    if (days > 0) this.logger.log({ days }, 'Deleted images past their retention time');
  }
}

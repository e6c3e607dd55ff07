import { uptime } from 'node:os';
import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { JobQueue, JobRegistry, type Job } from '../../../../platform/jobs/job-queue.js';
import { ImageMakerService } from '../image-maker.service.js';
import { toMediaName, MEDIA_STORE, type MediaStore } from '../../media/media-store.js';
import { Upstreams } from '../../providers/configured-providers.js';
import { GenerationReaderService } from '../records/generation-reader.service.js';
import type { DeliveredTask } from '../records/generation.js';

/** How long the provider keeps a result, and therefore how far back images can be restored. */
const PROVIDER_KEEPS_MS = 10 * 60_000;
/** How many images are checked concurrently. */
const BATCH_MAX = 50;
const FETCH_TIMEOUT_MS = 30_000;

/**
 * After a reboot, fetches delivered images again whose files were lost in a power failure (see `MediaStore`). Their charges are
 * durable, so the images have to be durable as well. An image that the provider no longer has is logged as an error, so that an
 * operator can compensate the customer.
 */
@Injectable()
export class MediaRestorationJob implements Job, OnApplicationBootstrap {
  readonly name = 'media_restoration';
  private readonly logger = new Logger(MediaRestorationJob.name);

  constructor(
    registry: JobRegistry,
    private readonly queue: JobQueue,
    private readonly reader: GenerationReaderService,
    private readonly maker: ImageMakerService,
    private readonly upstreams: Upstreams,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'runJobs' | 's3'>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  /** Only a machine that has just started can have lost files, and only local ones: files in S3 do not depend on a machine. */
  async onApplicationBootstrap(): Promise<void> {
    if (this.settings.s3 !== null || !this.settings.runJobs || uptime() * 1_000 > PROVIDER_KEEPS_MS) return;
    await this.queue.add(this.name, {}, { jobKey: this.name }).catch((error: unknown) => {
      this.logger.warn(
        { event: 'media.restoration_not_queued', err: error },
        'The images of the last minutes are not checked for loss, because the job could not be queued',
      );
    });
  }

  async run(): Promise<void> {
    const sinceMs = this.clock.nowMs() - PROVIDER_KEEPS_MS;
    let last: DeliveredTask | null = null;
    for (;;) {
      const batch: DeliveredTask[] = await this.reader.deliveredSince(sinceMs, last, BATCH_MAX);
      await Promise.all(batch.map((task) => this.restore(task)));
      last = batch.at(-1) ?? null;
      if (batch.length < BATCH_MAX) return;
    }
  }

  private async restore(task: DeliveredTask): Promise<void> {
    const generation = await this.reader.find(task);
    if (generation === null || generation.imagesDeletedAtMs !== null) return;
    const format = task.format ?? generation.outputFormat;
    // Null when the format was never recorded. The provider's copy then shows the format, and with it the name of the file.
    const name = format === null ? null : toMediaName(generation, { position: task.position, format });
    if (name !== null && (await this.media.getSize(name)) === task.bytes) return;
    const source = await this.upstreams.forStartedCall(generation);
    const { failure } = await this.maker.resume(
      generation,
      task,
      source,
      AbortSignal.timeout(FETCH_TIMEOUT_MS),
    );
    const fields = { generation: generation.id, position: task.position, hold: generation.holdId };
    if (failure !== null) {
      const event = 'media.image_lost';
      this.logger.error({ event, ...fields }, 'An image that was charged is lost; refund the customer');
    } else {
      this.logger.warn({ event: 'media.image_restored', ...fields }, 'A lost image was fetched again');
    }
  }
}

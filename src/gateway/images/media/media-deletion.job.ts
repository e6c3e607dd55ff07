import { Injectable } from '@nestjs/common';
import {
  JobRegistry,
  payloadText,
  type Job,
  type JobContext,
  type JobPayload,
} from '../../../platform/jobs/job-queue.js';
import {
  ACCOUNT_MEDIA_DELETION_JOB,
  MEDIA_DELETION_JOB,
  MediaDeletionService,
} from './media-deletion.service.js';

/** Deletes the images of a call a second time, for copies that were stored after the first time. */
@Injectable()
export class MediaDeletionJob implements Job {
  readonly name = MEDIA_DELETION_JOB;

  constructor(
    registry: JobRegistry,
    private readonly deletion: MediaDeletionService,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload): Promise<void> {
    const key = { accountId: payloadText(payload, 'account'), id: payloadText(payload, 'generation') };
    await this.deletion.removeAgain(key);
  }
}

/** Deletes all images of an account that were delivered before the request. */
@Injectable()
export class AccountMediaDeletionJob implements Job {
  readonly name = ACCOUNT_MEDIA_DELETION_JOB;

  constructor(
    registry: JobRegistry,
    private readonly deletion: MediaDeletionService,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload, { signal }: JobContext): Promise<void> {
    const beforeMs = Number(payload['before_ms']);
    await this.deletion.removeAccountImages(payloadText(payload, 'account'), beforeMs, signal);
  }
}

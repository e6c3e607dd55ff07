import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { AccountsService } from '../../../identity/accounts/accounts.service.js';
import type { AuditActor } from '../../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../../platform/common/clock.js';
import { isId } from '../../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../../platform/database/transaction-runner.js';
import { JobQueue } from '../../../platform/jobs/job-queue.js';
import { ResourceMissingError } from '../../../platform/errors/common.errors.js';
import { GenerationRunningError } from '../calls/generation.errors.js';
import { GenerationReaderService } from '../calls/records/generation-reader.service.js';
import type { GenerationKey, StoredGeneration } from '../calls/records/generation.js';
import { RunningGenerationsService } from '../calls/running-generations.service.js';
import { possibleMediaNames, MEDIA_STORE, type MediaStore } from './media-store.js';

export const MEDIA_DELETION_JOB = 'media_deletion';
export const ACCOUNT_MEDIA_DELETION_JOB = 'account_media_deletion';

/**
 * After this delay the images are deleted once more. A process that was taken for dead may store an image of the call until its
 * deadline (two minutes), after recovery has delivered the same image; and this process may die at any moment.
 */
const SECOND_LOOK_MS = 5 * 60_000;

/** How many calls of an account are read at a time. */
const CALLS_BATCH_MAX = 100;

const MARK = `
  UPDATE generations SET images_deleted_at = $3
   WHERE account_id = $1 AND id = $2 AND status = 'succeeded' AND images_deleted_at IS NULL`;

const NEXT_CALLS = `
  SELECT id FROM generations
   WHERE account_id = $1 AND id > $2 AND created_at < $3 AND status = 'succeeded' AND images_deleted_at IS NULL
   ORDER BY id LIMIT $4`;

/** Deletes delivered images at the customer's request. The receipt, the charge and the ledger are not changed. */
@Injectable()
export class MediaDeletionService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    private readonly queue: JobQueue,
    private readonly audit: AuditLog,
    private readonly accounts: AccountsService,
    private readonly reader: GenerationReaderService,
    private readonly running: RunningGenerationsService,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Resolves with the number of images when they are deleted, also when they were deleted before. The request is made durable first,
   * together with a job that continues if this process stops or the store is unavailable.
   *
   * Throws `ResourceMissingError` (404), also for another account's call; `GenerationRunningError` (409);
   * `MediaUnavailableError` (503) when the job will delete them later.
   *
   * @param by null when the job continues a request of an operator, which is recorded in the audit already.
   */
  async deleteImages(key: GenerationKey, by: AuditActor | null): Promise<number> {
    await this.running.recorded(key.accountId);
    const generation = isId('generation', key.id) ? await this.reader.find(key) : null;
    if (generation === null) throw new ResourceMissingError('generation', key.id);
    if (generation.status === 'failed') return 0;
    if (generation.status !== 'succeeded') throw new GenerationRunningError(key.id);
    const { accountId, id } = generation;
    const now = this.clock.nowMs();
    await this.transactions.run(async (tx) => {
      const [, marked] = await tx.query<[unknown, number]>(MARK, [accountId, id, new Date(now)]);
      const payload = { account: accountId, generation: id };
      const runAt = new Date(now + SECOND_LOOK_MS);
      await this.queue.add(MEDIA_DELETION_JOB, payload, { tx, runAt, jobKey: `${MEDIA_DELETION_JOB}:${id}` });
      if (by !== null && marked > 0) {
        const after = { images: generation.images.length };
        await this.audit.record(tx, by, {
          act: 'generation.images_deleted',
          object: id,
          account: accountId,
          after,
        });
      }
    }, by ?? 'system');
    await this.removeFiles(generation);
    return generation.images.length;
  }

  /** Queues a job that deletes every image that the account has at this moment. Throws `ResourceMissingError` (404). */
  async deleteAccountImages(accountId: string, by: AuditActor): Promise<void> {
    await this.accounts.require(accountId);
    await this.running.recorded(accountId);
    const payload = { account: accountId, before_ms: this.clock.nowMs() };
    await this.transactions.run(async (tx) => {
      await this.queue.add(ACCOUNT_MEDIA_DELETION_JOB, payload, { tx });
      await this.audit.record(tx, by, {
        act: 'account.images_deleted',
        object: accountId,
        account: accountId,
      });
    }, by);
  }

  async removeAgain(key: GenerationKey): Promise<void> {
    const generation = await this.reader.find(key);
    if (generation !== null) await this.removeFiles(generation);
  }

  /** Deletes the images call by call, each durable by itself, so that a run may be interrupted at any time. */
  async removeAccountImages(accountId: string, beforeMs: number, signal: AbortSignal): Promise<void> {
    let last = '';
    for (;;) {
      signal.throwIfAborted();
      const rows: { id: string }[] = await this.dataSource.query(NEXT_CALLS, [
        accountId,
        last,
        new Date(beforeMs),
        CALLS_BATCH_MAX,
      ]);
      for (const { id } of rows) await this.deleteImages({ accountId, id }, null);
      last = rows.at(-1)?.id ?? '';
      if (rows.length < CALLS_BATCH_MAX) return;
    }
  }

  /** Removes the files of every possible format, because a process that was taken for dead may have stored another copy. */
  private async removeFiles(generation: StoredGeneration): Promise<void> {
    const names = generation.images.flatMap(({ position }) => possibleMediaNames(generation, position));
    await Promise.all(names.map((name) => this.media.remove(name)));
  }
}

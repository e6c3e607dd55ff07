import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Not, type Repository } from 'typeorm';
import { GenerationTaskEntity } from './generation-task.entity.js';
import { GenerationEntity } from './generation.entity.js';
import type { DeliveredTask, GenerationKey, Payer, StoredGeneration, TaskRecord } from './generation.js';

/** Reads generations for replays and for recovery. Throws what the database throws. */
@Injectable()
export class GenerationReader {
  constructor(
    @InjectRepository(GenerationEntity) private readonly generations: Repository<GenerationEntity>,
    @InjectRepository(GenerationTaskEntity) private readonly tasks: Repository<GenerationTaskEntity>,
  ) {}

  async find({ accountId, id }: GenerationKey): Promise<StoredGeneration | null> {
    return this.withImages(await this.generations.findOneBy({ accountId, id }));
  }

  /** The generation that an idempotency key belongs to; failed ones have given theirs back. */
  async findByIdempotencyKey(accountId: string, idempotencyKey: string): Promise<StoredGeneration | null> {
    return this.withImages(
      await this.generations.findOneBy({ accountId, idempotencyKey, status: Not('failed') }),
    );
  }

  /** Every attempt, in order of position and attempt. */
  async tasksOf({ accountId, id }: GenerationKey): Promise<TaskRecord[]> {
    const rows = await this.tasks.find({
      where: { accountId, generationId: id },
      order: { position: 'ASC', attempt: 'ASC' },
    });
    return rows.map(toTaskRecord);
  }

  /**
   * Images delivered since then, in order of account, generation and position, beginning after `after`.
   * At most `limit`; fewer are the last.
   */
  async deliveredSince(
    sinceMs: number,
    after: DeliveredTask | null,
    limit: number,
  ): Promise<DeliveredTask[]> {
    const rows = await this.tasks
      .createQueryBuilder('task')
      .where('task.createdAt >= :since', { since: new Date(sinceMs) })
      .andWhere(`task.status = 'delivered'`)
      .andWhere(
        after === null
          ? 'true'
          : '(task.accountId, task.generationId, task.position) > (:accountId, :id, :position)',
        { accountId: after?.accountId, id: after?.id, position: after?.position },
      )
      .orderBy({ 'task.accountId': 'ASC', 'task.generationId': 'ASC', 'task.position': 'ASC' })
      .limit(limit)
      .getMany();
    return rows.map((row) => ({
      ...toTaskRecord(row),
      accountId: row.accountId,
      id: row.generationId,
      bytes: row.bytes ?? 0,
      format: row.imageFormat,
    }));
  }

  private async withImages(row: GenerationEntity | null): Promise<StoredGeneration | null> {
    if (row === null) return null;
    const { accountId, id } = row;
    return toStored(row, await this.tasks.findBy({ accountId, generationId: id }));
  }
}

export function toStored(row: GenerationEntity, tasks: readonly GenerationTaskEntity[]): StoredGeneration {
  return {
    accountId: row.accountId,
    id: row.id,
    apiKeyId: row.apiKeyId,
    requestId: row.requestId,
    model: row.model,
    priceId: row.priceId,
    priceMicros: row.priceMicros,
    imagesRequested: row.imagesRequested,
    width: row.width,
    height: row.height,
    responseFormat: row.responseFormat,
    outputFormat: row.outputFormat,
    endUser: row.endUser,
    fingerprint: row.fingerprint,
    idempotencyKey: row.idempotencyKey,
    mediaKeyId: row.mediaKeyId,
    ...payerOf(row),
    fellBackFrom: row.fellBackFrom,
    operation: row.operation,
    referencesCount: row.referencesCount,
    tag: row.tag,
    // Attempts that began under a release that did not number them are still found.
    attempt: row.lastAttempt ?? (row.retryState === null ? null : 0),
    retryState: row.retryState,
    retryClaim: row.retryClaim,
    createdAtMs: row.createdAt.getTime(),
    status: row.status,
    chargedMicros: row.chargedMicros,
    errorCode: row.errorCode,
    ...delivered(row, tasks),
    authorizedAtMs: row.authorizedAt?.getTime() ?? null,
    deliveredAtMs: row.deliveredAt?.getTime() ?? null,
    finishedAtMs: row.finishedAt?.getTime() ?? null,
    imagesDeletedAtMs: row.imagesDeletedAt?.getTime() ?? null,
  };
}

/** The database keeps a call over a customer's own key from having a hold (`generations_paid_or_free`). */
function payerOf({ providerKeyId, holdId }: GenerationEntity): Payer {
  return providerKeyId === null ? { providerKeyId, holdId } : { providerKeyId, holdId: null };
}

/** A delivered image of no known format is one whose file was lost: whatever it is called, nothing is there. */
const FORMAT_OF_LOST = 'jpeg';

function delivered(
  { outputFormat }: GenerationEntity,
  tasks: readonly GenerationTaskEntity[],
): Pick<StoredGeneration, 'images' | 'namesFormat'> {
  const found = tasks.filter((task) => task.status === 'delivered').sort((a, b) => a.position - b.position);
  return {
    images: found.map(({ position, bytes, imageFormat }) => ({
      position,
      bytes: bytes ?? 0,
      format: imageFormat ?? outputFormat ?? FORMAT_OF_LOST,
    })),
    namesFormat: found.every(({ imageFormat }) => imageFormat !== null),
  };
}

function toTaskRecord(row: GenerationTaskEntity): TaskRecord {
  return {
    position: row.position,
    attempt: row.attempt,
    provider: row.provider,
    task:
      row.taskId === null || row.pollingUrl === null
        ? null
        : { taskId: row.taskId, pollingUrl: row.pollingUrl, costMicros: row.upstreamCostMicros },
    status: row.status,
  };
}

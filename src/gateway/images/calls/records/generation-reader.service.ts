import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Not, type Repository } from 'typeorm';
import { GenerationTaskEntity } from './generation-task.entity.js';
import { GenerationEntity } from './generation.entity.js';
import type { DeliveredTask, GenerationKey, Payer, StoredGeneration, TaskRecord } from './generation.js';

/** Reads generations for replays and for recovery. Throws what the database throws. */
@Injectable()
export class GenerationReaderService {
  constructor(
    @InjectRepository(GenerationEntity) private readonly generations: Repository<GenerationEntity>,
    @InjectRepository(GenerationTaskEntity) private readonly tasks: Repository<GenerationTaskEntity>,
  ) {}

  async find({ accountId, id }: GenerationKey): Promise<StoredGeneration | null> {
    return this.withImages(await this.generations.findOneBy({ accountId, id }));
  }

  /** Returns the generation that has this idempotency key. Failed generations have freed their keys. */
  async findByIdempotencyKey(accountId: string, idempotencyKey: string): Promise<StoredGeneration | null> {
    return this.withImages(
      await this.generations.findOneBy({ accountId, idempotencyKey, status: Not('failed') }),
    );
  }

  /** Returns every attempt, ordered by position and attempt. */
  async findTasks({ accountId, id }: GenerationKey): Promise<TaskRecord[]> {
    const rows = await this.tasks.find({
      where: { accountId, generationId: id },
      order: { position: 'ASC', attempt: 'ASC' },
    });
    return rows.map(toTaskRecord);
  }

  /**
   * Returns at most `limit` images that were delivered since then, ordered by account, generation and position, and starting after
   * `after`. Fewer than `limit` are the last ones.
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
    ...toPayer(row),
    fellBackFrom: row.fellBackFrom,
    operation: row.operation,
    referencesCount: row.referencesCount,
    tag: row.tag,
    // Attempts from before the release that numbers them are still found.
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

/** The database ensures that a BYOK call has no hold (`generations_paid_or_free`). */
function toPayer({ providerKeyId, holdId }: GenerationEntity): Payer {
  return providerKeyId === null ? { providerKeyId, holdId } : { providerKeyId, holdId: null };
}

/** A delivered image without a recorded format has lost its file, so its name does not matter. */
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

import { Injectable } from '@nestjs/common';
import { DataSource, In, type EntityManager } from 'typeorm';
import { isId } from '../../../../platform/common/ids.js';
import { micros, type MicroUsd } from '../../../../platform/common/money.js';
import { toPage, type Page, type PageRequest } from '../../../../platform/common/pagination.js';
import { readRows } from '../../../../platform/database/data-source.js';
import { TransactionRunner } from '../../../../platform/database/transaction-runner.js';
import { InvalidRequestError, ResourceMissingError } from '../../../../platform/errors/common.errors.js';
import type { ProviderName } from '../../providers/image-provider.js';
import { idBounds, type GenerationFilter } from './generation-filter.js';
import { toStored } from './generation-reader.service.js';
import { GenerationTaskEntity } from './generation-task.entity.js';
import { GenerationEntity } from './generation.entity.js';
import type { StoredGeneration } from './generation.js';

/** What a call was charged: one transfer from each lot of credit that it used. */
export type ReceiptCharge = {
  /** The ids of the transfers, in the ledger's order. */
  readonly transactions: readonly string[];
  readonly firstSeq: bigint;
  readonly lastSeq: bigint;
  /** The posted credit before and after the charge. */
  readonly beforeMicros: MicroUsd;
  readonly afterMicros: MicroUsd;
  readonly postedAtMs: number;
};

/** One attempt at one image, without what it costs us, which the customer must not see. */
export type ReceiptAttempt = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  readonly taskId: string | null;
  readonly status: GenerationTaskEntity['status'];
  readonly failure: string | null;
};

export type Receipt = StoredGeneration & {
  /** Null when nothing was charged. */
  readonly charge: ReceiptCharge | null;
  readonly attempts: readonly ReceiptAttempt[];
};

type TransferRow = {
  readonly id: string;
  readonly seq: string;
  readonly reference: string;
  readonly amount: string;
  readonly posted_after: string;
  readonly created_at: Date;
};

/** Finds charges by their reference. A charge from several lots is several transfers. */
const CHARGES = `
  SELECT id, seq, reference, amount_micros AS amount, posted_after_micros AS posted_after, created_at
    FROM transfers WHERE account_id = $1 AND reference = ANY($2) ORDER BY seq`;

/** Only time has an index, so a search for rare calls may be slow. After this it is refused, and the client narrows the time. */
const SEARCH_SECONDS_MAX = 5;
const QUERY_CANCELED = '57014';

/** Reads generations as their account sees them, with one query for each of three tables, regardless of the page's size. */
@Injectable()
export class GenerationReceiptsService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
  ) {}

  /** Throws `ResourceMissingError` (404), also for another account's generation. */
  async require(accountId: string, id: string): Promise<Receipt> {
    const { manager } = this.dataSource;
    const row = isId('generation', id) ? await manager.findOneBy(GenerationEntity, { accountId, id }) : null;
    const [receipt] = row === null ? [] : await complete(this.dataSource, accountId, [row]);
    if (receipt === undefined) throw new ResourceMissingError('generation', id);
    return receipt;
  }

  /** Newest first. Throws `InvalidRequestError` when the search takes too long. */
  async list(accountId: string, filter: GenerationFilter, page: PageRequest): Promise<Page<Receipt>> {
    const rows = await this.search(accountId, filter, page);
    const shown = toPage(rows, page);
    return { ...shown, data: await complete(this.dataSource, accountId, shown.data) };
  }

  private async search(
    accountId: string,
    filter: GenerationFilter,
    page: PageRequest,
  ): Promise<GenerationEntity[]> {
    try {
      return await this.transactions.run(
        async (tx) => {
          await tx.query(`SET LOCAL statement_timeout = '${SEARCH_SECONDS_MAX}s'`);
          return findRows(tx, accountId, filter, page);
        },
        { kind: 'account_key', accountId },
      );
    } catch (error) {
      if ((error as { code?: unknown }).code !== QUERY_CANCELED) throw error;
      throw new InvalidRequestError(
        'The search takes too long. Ask for a shorter time with from and to.',
        'from',
      );
    }
  }
}

function findRows(
  tx: EntityManager,
  accountId: string,
  filter: GenerationFilter,
  page: PageRequest,
): Promise<GenerationEntity[]> {
  const { startingAfter, endingBefore, limit } = page;
  const bounds = idBounds(filter);
  const query = tx
    .createQueryBuilder(GenerationEntity, 'g')
    .where('g.accountId = :accountId', { accountId })
    .orderBy('g.id', endingBefore === undefined ? 'DESC' : 'ASC')
    .limit(limit + 1);
  const narrow = (condition: string, name: string, value: unknown): void => {
    if (value !== null && value !== undefined) query.andWhere(condition, { [name]: value });
  };
  narrow('g.id < :startingAfter', 'startingAfter', startingAfter);
  narrow('g.id > :endingBefore', 'endingBefore', endingBefore);
  narrow('g.id >= :fromId', 'fromId', bounds.from);
  narrow('g.id < :toId', 'toId', bounds.to);
  narrow('g.createdAt >= :from', 'from', filter.fromMs === null ? null : new Date(filter.fromMs));
  narrow('g.createdAt < :to', 'to', filter.toMs === null ? null : new Date(filter.toMs));
  narrow('g.model = :model', 'model', filter.model);
  narrow('g.apiKeyId = :apiKeyId', 'apiKeyId', filter.apiKeyId);
  narrow('coalesce(g.tag, g.end_user) = :tag', 'tag', filter.tag);
  narrow('g.status = :status', 'status', filter.status);
  return query.getMany();
}

async function complete(
  dataSource: DataSource,
  accountId: string,
  rows: readonly GenerationEntity[],
): Promise<Receipt[]> {
  if (rows.length === 0) return [];
  const tasks = await dataSource.manager.find(GenerationTaskEntity, {
    where: { accountId, generationId: In(rows.map((row) => row.id)) },
    order: { position: 'ASC', attempt: 'ASC' },
  });
  const references = rows.flatMap((row) => toCaptureReference(row) ?? []);
  const transfers =
    references.length === 0 ? [] : await readRows<TransferRow>(dataSource, CHARGES, [accountId, references]);
  return rows.map((row) => {
    const own = tasks.filter((task) => task.generationId === row.id);
    const capture = toCaptureReference(row);
    const charge = toCharge(transfers.filter((transfer) => transfer.reference === capture));
    return { ...toStored(row, own), charge, attempts: own.map(toAttempt) };
  });
}

/** Returns the ledger's reference of the capture of a generation's hold; null when there is no hold. */
function toCaptureReference({ holdId }: GenerationEntity): string | null {
  return holdId === null ? null : `capture:${holdId}`;
}

function toCharge(transfers: readonly TransferRow[]): ReceiptCharge | null {
  const first = transfers[0];
  const last = transfers.at(-1);
  if (first === undefined || last === undefined) return null;
  return {
    transactions: transfers.map(({ id }) => id),
    firstSeq: BigInt(first.seq),
    lastSeq: BigInt(last.seq),
    beforeMicros: micros(BigInt(first.posted_after) + BigInt(first.amount)),
    afterMicros: micros(BigInt(last.posted_after)),
    postedAtMs: last.created_at.getTime(),
  };
}

function toAttempt(task: GenerationTaskEntity): ReceiptAttempt {
  const { position, attempt, provider, taskId, status, failure } = task;
  return { position, attempt, provider, taskId, status, failure };
}

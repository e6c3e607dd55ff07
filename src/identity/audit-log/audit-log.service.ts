import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { And, DataSource, type FindOperator, LessThan, MoreThanOrEqual, Repository } from 'typeorm';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { readRows } from '../../platform/database/data-source.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import {
  type AuditAct,
  type AuditActor,
  type AuditEntry,
  insertAuditEvent,
  newAuditEvent,
} from './audit-event.js';
import { AuditEventEntity } from './audit-event.entity.js';

/** Selects events; an undefined member selects all. */
export type AuditFilter = {
  readonly account?: string | undefined;
  readonly actor?: string | undefined;
  readonly act?: AuditAct | undefined;
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
};

/** An event, with its position in the chain. Its own commit seals it; only the owner of the tables can remove the seal. */
export type AuditEvent = AuditEventEntity & { readonly seal: Seal | null };
export type Seal = { readonly seq: string; readonly hash: string };

const SEALS_OF = `
  SELECT event_number AS number, seq, encode(hash, 'hex') AS hash FROM audit_seals WHERE event_number = ANY($1::bigint[])`;

/** Records who did what. The record is written in the act's own tx, so there is no act without a record, and no record without an act. */
@Injectable()
export class AuditLog {
  constructor(
    @InjectRepository(AuditEventEntity) private readonly events: Repository<AuditEventEntity>,
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
  ) {}

  /** The database seals the event when the tx commits; only that waits for the commits of other acts. */
  async record(tx: Tx, by: AuditActor, entry: AuditEntry): Promise<void> {
    await insertAuditEvent(tx, newAuditEvent(by, entry));
  }

  /** Records an act that changes nothing in the database, such as a read, in a commit of its own. */
  async note(by: AuditActor, entry: AuditEntry): Promise<void> {
    await this.transactions.run((tx) => this.record(tx, by, entry), by);
  }

  /** Lists the newest first. Throws `InvalidRequestError` for a cursor that is no event's id. */
  async list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEvent>> {
    const { account, actor, act } = filter;
    const at = between(filter);
    const where = {
      ...(account === undefined ? {} : { accountId: account }),
      ...(actor === undefined ? {} : { actor }),
      ...(act === undefined ? {} : { act }),
      ...(at === null ? {} : { at }),
    };
    const { data, hasMore } = await findPage(this.events, 'auditEvent', where, page);
    const seals = await this.findSeals(data);
    return { data: data.map((event) => ({ ...event, seal: seals.get(event.number) ?? null })), hasMore };
  }

  private async findSeals(events: readonly AuditEventEntity[]): Promise<ReadonlyMap<string, Seal>> {
    const numbers = events.map(({ number }) => number);
    const rows = await readRows<Seal & { number: string }>(this.dataSource, SEALS_OF, [numbers]);
    return new Map(rows.map(({ number, seq, hash }) => [number, { seq, hash }]));
  }
}

function between({ from, to }: AuditFilter): FindOperator<Date> | null {
  if (from !== undefined && to !== undefined) return And(MoreThanOrEqual(from), LessThan(to));
  if (from !== undefined) return MoreThanOrEqual(from);
  return to === undefined ? null : LessThan(to);
}

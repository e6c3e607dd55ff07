import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { And, DataSource, LessThan, MoreThanOrEqual, Repository, type FindOperator } from 'typeorm';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { readRows } from '../../platform/database/read-repeating-data-source.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import type { AuditAct } from './audit-act.js';
import { newAuditEvent, type AuditActor, type AuditEntry } from './audit-event.js';
import { AuditEventEntity } from './audit-event.entity.js';
import { insertAuditEvent } from './audit-statements.js';

/** Which events are asked for; undefined: all. */
export type AuditFilter = {
  readonly account?: string | undefined;
  readonly actor?: string | undefined;
  readonly act?: AuditAct | undefined;
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
};

/** An event, with its place in the chain. Its own commit seals it; only who owns the tables can take the seal away. */
export type AuditEvent = AuditEventEntity & { readonly seal: Seal | null };
export type Seal = { readonly seq: string; readonly hash: string };

const SEALS_OF = `
  SELECT event_number AS number, seq, encode(hash, 'hex') AS hash FROM audit_seals WHERE event_number = ANY($1::bigint[])`;

/** The record of who did what. It is written in the act's own tx, so no act is without its record, nor a record without its act. */
@Injectable()
export class AuditLog {
  constructor(
    @InjectRepository(AuditEventEntity) private readonly events: Repository<AuditEventEntity>,
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
  ) {}

  /** The database seals the event as the tx commits, and for that alone waits for the commits of other acts. */
  async record(tx: Tx, by: AuditActor, entry: AuditEntry): Promise<void> {
    await insertAuditEvent(tx, newAuditEvent(by, entry));
  }

  /** For what changes nothing here, such as a read: a commit of its own. */
  async note(by: AuditActor, entry: AuditEntry): Promise<void> {
    await this.transactions.run((tx) => this.record(tx, by, entry), by);
  }

  /** Newest first. Throws `InvalidRequestError` for a cursor that is no event's id. */
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
    const seals = await this.sealsOf(data);
    return { data: data.map((event) => ({ ...event, seal: seals.get(event.number) ?? null })), hasMore };
  }

  private async sealsOf(events: readonly AuditEventEntity[]): Promise<ReadonlyMap<string, Seal>> {
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

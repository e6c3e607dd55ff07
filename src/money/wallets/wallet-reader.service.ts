import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { toPage, type Page, type PageRequest } from '../../platform/common/pagination.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { readRows } from '../../platform/database/data-source.js';
import { transferSeq } from '../ledger/transfer.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import type { Freeze, LotKind, WalletStatus } from './rules/wallet.js';
import { WalletEngine } from './wallet-engine.js';

/** A wallet as stored; money is micro-USD as the database's decimal strings, times are Unix seconds. */
export type WalletSnapshot = {
  readonly status: WalletStatus;
  readonly posted: string;
  readonly held: string;
  readonly available: string;
  readonly debt: string;
  readonly lots: readonly LotSnapshot[];
};

export type LotSnapshot = {
  readonly id: string;
  readonly kind: LotKind;
  readonly source: string;
  readonly refundable: boolean;
  readonly granted_micros: string;
  readonly remaining_micros: string;
  readonly expires_at: number | null;
  readonly created: number;
};

export type TransferRow = {
  readonly id: string;
  readonly seq: string;
  readonly kind: string;
  readonly debit_account: string;
  readonly credit_account: string;
  readonly amount_micros: string;
  readonly posted_after_micros: string;
  readonly reference: string;
  readonly link_id: string;
  readonly memo: string | null;
  readonly created: number;
};

const READ_WALLET = `
  SELECT w.status, w.posted_micros AS posted, w.held_micros AS held, w.debt_micros AS debt,
         w.posted_micros - w.held_micros AS available,
         (SELECT coalesce(json_agg(json_build_object(
                   'id', l.id, 'kind', l.kind, 'source', l.source, 'refundable', l.refundable, 'granted_micros', l.granted_micros::text,
                   'remaining_micros', l.remaining_micros::text,
                   'expires_at', floor(extract(epoch FROM l.expires_at))::bigint,
                   'created', floor(extract(epoch FROM l.created_at))::bigint)
                   ORDER BY l.kind DESC, l.priority, l.expires_at NULLS LAST, l.created_at, l.id), '[]')
            FROM credit_lots l WHERE l.account_id = w.account_id AND l.live) AS lots,
         EXISTS (SELECT FROM credit_lots l
                  WHERE l.account_id = w.account_id AND l.live AND l.expires_at <= $2) AS due
    FROM wallets w WHERE w.account_id = $1`;

const TRANSFER_COLUMNS = `
  id, seq, kind, debit_account, credit_account, amount_micros, posted_after_micros, reference, link_id, memo,
  floor(extract(epoch FROM created_at))::bigint::int AS created`;

const READ_FREEZES = `
  SELECT id, source, source_id AS "sourceId", reason, actor, extract(epoch FROM created_at)::float8 * 1000 AS "createdAtMs",
         extract(epoch FROM lifted_at)::float8 * 1000 AS "liftedAtMs", lifted_by AS "liftedBy", lifted_reason AS "liftedReason"
    FROM wallet_freezes WHERE account_id = $1 ORDER BY created_at DESC, id DESC LIMIT 100`;

/** An account that never moved money has no wallet row yet. */
const EMPTY: WalletSnapshot = {
  status: 'active',
  posted: '0',
  held: '0',
  available: '0',
  debt: '0',
  lots: [],
};

/** Reads for people and machines. It never decides about money: the engine reads for itself, under a lock. */
@Injectable()
export class WalletReaderService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** The three numbers and the live lots, from one snapshot, with nothing in it that has lapsed. */
  async read(accountId: string): Promise<WalletSnapshot> {
    const found = await this.query(accountId);
    if (!found?.due) return found ?? EMPTY;
    // Lapsed credit cannot be spent; posting its expiry now lets the answer say so.
    await this.engine.execute({ type: 'expireLots', accountId, actor: 'system' });
    return (await this.query(accountId)) ?? EMPTY;
  }

  /** Why the wallet is or was frozen, newest first. */
  freezes(accountId: string): Promise<readonly Freeze[]> {
    return readRows<Freeze>(this.dataSource, READ_FREEZES, [accountId]);
  }

  /** Whether this reason ever froze the wallet, lifted since or not. */
  async wasFrozenBy(
    accountId: string,
    { source, sourceId }: Pick<Freeze, 'source' | 'sourceId'>,
  ): Promise<boolean> {
    const rows = await readRows<unknown>(
      this.dataSource,
      'SELECT FROM wallet_freezes WHERE account_id = $1 AND source = $2 AND source_id = $3 LIMIT 1',
      [accountId, source, sourceId],
    );
    return rows.length > 0;
  }

  /** The account's book, newest first. Throws `InvalidRequestError` for a cursor of another account. */
  async transfers(accountId: string, page: PageRequest): Promise<Page<TransferRow>> {
    const after = this.toSeq(accountId, page.startingAfter, 'starting_after');
    const before = this.toSeq(accountId, page.endingBefore, 'ending_before');
    const rows = await readRows<TransferRow>(
      this.dataSource,
      before === null
        ? `SELECT ${TRANSFER_COLUMNS} FROM transfers WHERE account_id = $1 AND ($2::bigint IS NULL OR seq < $2)
            ORDER BY seq DESC LIMIT $3`
        : `SELECT ${TRANSFER_COLUMNS} FROM transfers WHERE account_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
      [accountId, before ?? after, page.limit + 1],
    );
    return toPage(rows, page);
  }

  private async query(accountId: string): Promise<(WalletSnapshot & { readonly due: boolean }) | undefined> {
    const now = new Date(this.clock.nowMs()).toISOString();
    const rows = await readRows<WalletSnapshot & { readonly due: boolean }>(this.dataSource, READ_WALLET, [
      accountId,
      now,
    ]);
    return rows[0];
  }

  private toSeq(accountId: string, cursor: string | undefined, param: string): number | null {
    if (cursor === undefined) return null;
    const seq = transferSeq(accountId, cursor);
    if (seq === null) throw new InvalidRequestError(`No such transaction: '${cursor}'.`, param);
    return seq;
  }
}

import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { FairSlots, NoSlotError } from '../common/fair-slots.js';
import { DatabaseBusyError } from '../errors/common.errors.js';
import { isAuditHeadLocked, isLockTimeout, isTransient } from './constraints.js';
import { CONNECT_TIMEOUT_MS } from './data-source.js';

/**
 * An open database transaction. A `Tx` never reaches a port: no network call may run inside one.
 */
export type Tx = EntityManager;

/** The actor for whom a tx is opened: a key, or the service itself by its name (`system`, `cli:…`). */
export type TxActor =
  string | { readonly kind: 'account_key'; readonly accountId: string } | { readonly kind: 'operator_key' };

/** A deadlock victim rarely loses twice; more attempts than this would hide a locking fault. */
const ATTEMPTS_MAX = 5;

/** The shares of the pool. The rest serves what never waits long: the keys, prices and records of image calls, and reads. */
const CUSTOMERS_SHARE = 1 / 3;
const PLATFORM_SHARE = 1 / 4;
/** A job may wait for a lock; a request that waits blocks a connection and its caller. */
const SET_LOCK_TIMEOUT = `SET LOCAL lock_timeout = '2s'`;
/** Waiting requests hold no connection, and none waits longer than for a connection. */
const WAITERS_MAX = 1_000;

/**
 * Opens every tx and limits how many are open at a time. A tx keeps its connection while it waits: for a row or the end of the
 * audit log that another session has locked, or for the wallet engine. So transactions never use all connections of the pool,
 * those of one account never all that customers may use, and those of customers none of the platform's (ADR 56).
 *
 * `work` must not ask for a second tx: it would keep one connection while it waits for another.
 */
@Injectable()
export class TransactionRunner {
  private readonly customers: FairSlots;
  /** For operators, jobs, and Stripe's events. */
  private readonly platform: FairSlots;
  private lastCall = 0;

  /** @param poolSize the number of connections of the data source. */
  constructor(
    private readonly dataSource: DataSource,
    poolSize: number,
  ) {
    this.customers = createSlots(poolSize, CUSTOMERS_SHARE);
    this.platform = createSlots(poolSize, PLATFORM_SHARE);
  }

  /**
   * Runs `work` in one tx, and again from its start after a deadlock or serialization failure. Throws `DatabaseBusyError` (503) when
   * others keep the connections of transactions, or a lock, for too long; nothing was changed then.
   */
  async run<T>(work: (tx: Tx) => Promise<T>, actor: TxActor = 'system'): Promise<T> {
    const { slots, owner } = this.partFor(actor);
    const call = `${(this.lastCall += 1)}`;
    try {
      return await slots.run({ owner, call }, () => this.commit(work, actor), { maxMs: CONNECT_TIMEOUT_MS });
    } catch (error) {
      const isBusy = error instanceof NoSlotError || (isLockTimeout(error) && !isAuditHeadLocked(error));
      throw isBusy ? new DatabaseBusyError(error) : error;
    }
  }

  private async commit<T>(work: (tx: Tx) => Promise<T>, actor: TxActor): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.dataSource.transaction(async (tx) => {
          if (typeof actor === 'object') await tx.query(SET_LOCK_TIMEOUT);
          return work(tx);
        });
      } catch (error) {
        if (!isTransient(error) || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  private partFor(actor: TxActor): { readonly slots: FairSlots; readonly owner: string } {
    if (typeof actor === 'string') return { slots: this.platform, owner: 'service' };
    if (actor.kind === 'operator_key') return { slots: this.platform, owner: 'operators' };
    return { slots: this.customers, owner: actor.accountId };
  }
}

/** Has at least one slot; where there are more, no owner can use them all. */
function createSlots(poolSize: number, share: number): FairSlots {
  const slots = Math.max(Math.floor(poolSize * share), 1);
  return new FairSlots({
    slots,
    slotsPerOwnerMax: Math.ceil(slots / 2),
    waitersMax: WAITERS_MAX,
    waitersPerOwnerMax: WAITERS_MAX / 2,
  });
}

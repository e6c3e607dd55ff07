import { setImmediate as nextTurn } from 'node:timers/promises';
import { Inject, Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import {
  isAuditHeadLocked,
  isConnectionFailure,
  isLockTimeout,
  isOutdated,
  isTransient,
  isUnavailable,
} from '../../platform/database/constraints.js';
import { isPlatformBook } from '../ledger/transfer.js';
import {
  AuditLogLockedError,
  DatabaseUnavailableError,
  ProcessOutdatedError,
} from '../../platform/errors/common.errors.js';
import { EngineSaturatedError, problemOf, WalletLockedError } from './wallet.errors.js';
import { ContendedWallets } from './contended-wallets.js';
import { BATCH_MAX, Lane, type Queued } from './engine-lane.js';
import { ENGINE_OBSERVER, type EngineObserver } from './engine-observer.js';
import type { Result } from './rules/batch.js';
import type { WalletCommand } from './rules/command.js';
import type { Outcome } from './rules/outcome.js';
import { TableLockedError, WalletStore, type Undecided } from './store/wallet-store.js';

/** About a second of work. Beyond it a caller learns at once that it must wait, instead of timing out. */
const QUEUE_MAX = 10_000;
/**
 * A batch leaves at the first turn of the event loop that brings no command, and never before the second: the first ends with
 * what had arrived already, only in the next does the system look for more. The clients that the last batch answered are
 * on their way with their next commands, and a batch of twice the size costs far less than two. No timer is involved; a
 * lone command waits some microseconds.
 */
const GATHERING_TURNS_MIN = 2;
/** Turns are short while little is to do, but commands that trickle in one by one must not hold the first ones up. */
const GATHERING_TURNS_MAX = 10;
/** A deadlock or serialization failure rarely strikes twice. */
const TRANSIENT_ATTEMPTS_MAX = 5;
/** What the database could not decide within this is refused with a 503, and what has waited this long is not tried. */
const WAIT_MAX_MS = 10_000;
/**
 * For how long a batch is halved whose parts meet locks that are no wallet's: as long as finding one row in a full batch takes, twice.
 * What is not decided by then met a table's, and is refused with a 503.
 */
const HALVING_MAX_MS = 4_000;
/** A restarting server is back within this; then callers are refused with a 503. */
const RECONNECT_DELAYS_MS = [50, 200, 500, 1_000, 2_000] as const;

/** The settings `ENGINE_LANES` and `ENGINE_OVERLAP_FROM`. */
export type EngineOptions = { readonly lanes: number; readonly overlapFrom: number };
export const ENGINE_OPTIONS = Symbol('ENGINE_OPTIONS');

/**
 * The one entry point for money. Commands queue in lanes; while one batch commits, the next gathers, so the batch
 * grows with the load and no timer delays a lone command. Where the queue is long, the next does not wait for the first.
 */
@Injectable()
export class WalletEngine implements OnApplicationShutdown {
  private readonly lanes: readonly Lane[];
  /** Its own: what holds the lock of our own book must never hold a customer's call up. */
  private readonly platformLane: Lane;
  /**
   * Of commands with an audit event. Their commits wait for those of all other acts (ADR 48), and no customer's spending shares
   * that wait. One batch at a time: a second would wait for the first.
   */
  private readonly actLane = new Lane(Infinity);
  /** The lanes whose next batch gathers. */
  private readonly gathering = new Set<Lane>();
  private readonly running = new Set<Promise<void>>();
  private readonly logger = new Logger(WalletEngine.name);
  private readonly contended = new ContendedWallets();
  private readonly contendedActs = new ContendedWallets();
  /** What was sent on a connection that was lost: it may be committed already. */
  private readonly unsure = new WeakSet<Queued>();
  private queued = 0;
  private taken = 0;
  private outdatedLogged = false;

  constructor(
    private readonly store: WalletStore,
    @Inject(ENGINE_OBSERVER) private readonly observer: EngineObserver,
    @Inject(ENGINE_OPTIONS) { lanes, overlapFrom }: EngineOptions,
  ) {
    this.lanes = Array.from({ length: lanes }, () => new Lane(overlapFrom));
    this.platformLane = new Lane(overlapFrom);
  }

  /**
   * Resolves after the command is durably committed. Rejects with a `Problem` and no effect when the rules
   * refuse it; with `EngineSaturatedError` or `DatabaseUnavailableError` (503) when it cannot be decided.
   * After the latter the outcome is unknown until the same reference is sent again, which is always safe.
   */
  execute(command: WalletCommand): Promise<Outcome> {
    if (this.queued >= QUEUE_MAX) {
      this.observer.saturated();
      return Promise.reject(new EngineSaturatedError());
    }
    return new Promise<Outcome>((resolve, reject) => {
      const arrivedAtMs = performance.now();
      this.enqueue({ arrival: this.taken++, arrivedAtMs, command, resolve, reject });
    });
  }

  /**
   * For how long the oldest command has waited that is not answered yet. Those whose wallet somebody else holds do not count, nor
   * those with an audit event: another process could not answer them either.
   */
  oldestWaitMs(): number {
    const oldestAtMs = Math.min(...[...this.lanes, this.platformLane].map((lane) => lane.oldestAtMs));
    return Math.max(0, performance.now() - oldestAtMs);
  }

  /** Finishes everything that was accepted. */
  async onApplicationShutdown(): Promise<void> {
    // Each batch begins what has come meanwhile before it ends.
    while (this.running.size > 0) await Promise.all(this.running);
  }

  private laneFor({ accountId, audit }: WalletCommand): Lane {
    if (audit !== undefined) return this.actLane;
    if (isPlatformBook(accountId)) return this.platformLane;
    return this.lanes[laneOf(accountId, this.lanes.length)] as Lane;
  }

  /** Where the lane's commands wait for a wallet that somebody else holds. */
  private lineOf(lane: Lane): ContendedWallets {
    return lane === this.actLane ? this.contendedActs : this.contended;
  }

  private enqueue(entry: Queued): void {
    const lane = this.laneFor(entry.command);
    const line = this.lineOf(lane);
    if (line.has(entry.command.accountId)) return this.contend(line, [entry]);
    lane.add(entry);
    this.countQueued(1);
    this.advance(lane);
  }

  private countQueued(change: number): void {
    this.queued += change;
    this.observer.queueLength(this.queued);
  }

  /** Begins the lane's next batch, if it may begin. */
  private advance(lane: Lane): void {
    if (this.gathering.has(lane) || !lane.mayBegin) return;
    this.gathering.add(lane);
    const run = this.runBatch(lane).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private async runBatch(lane: Lane): Promise<void> {
    await gather(lane);
    this.gathering.delete(lane);
    const batch = lane.begin();
    this.countQueued(-batch.length);
    this.advance(lane);
    const undecided = await this.commit(this.withoutLate(batch), null);
    const accountIds = new Set(undecided.map(({ command }) => command.accountId));
    const heldBack = [...accountIds].flatMap((accountId) => lane.takeHeldBack(accountId));
    this.countQueued(-heldBack.length);
    this.contend(this.lineOf(lane), [...undecided, ...heldBack]);
    lane.end(batch);
    this.advance(lane);
  }

  /** While the database answers nothing, whoever waited this long already would only wait longer. */
  private withoutLate(batch: readonly Queued[]): readonly Queued[] {
    const arrivedAtMsMin = performance.now() - WAIT_MAX_MS;
    const isLate = ({ arrivedAtMs }: Queued): boolean => arrivedAtMs < arrivedAtMsMin;
    if (!batch.some(isLate)) return batch;
    this.refuse(batch.filter(isLate), new DatabaseUnavailableError(new Error('it waited for too long')));
    return batch.filter((entry) => !isLate(entry));
  }

  private refuse(entries: readonly Queued[], problem: Error): void {
    if (entries.length === 0) return;
    this.observer.failed(entries.length, problem);
    for (const entry of entries) entry.reject(problem);
  }

  /** Puts commands in line for the lock of their wallet. */
  private contend(line: ContendedWallets, entries: readonly Queued[]): void {
    if (entries.length === 0) return;
    const isIdle = line.isEmpty;
    for (const entry of entries) {
      if (line.add(entry)) {
        this.countQueued(1);
        continue;
      }
      this.observer.saturated();
      entry.reject(new EngineSaturatedError());
    }
    if (!isIdle) return;
    const run = this.runContended(line).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private async runContended(line: ContendedWallets): Promise<void> {
    while (!line.isEmpty) {
      const { waitFor, batch } = line.next();
      const undecided = new Set(await this.commit(batch, waitFor));
      line.putAfter(waitFor);
      const decided = batch.filter((entry) => !undecided.has(entry));
      line.remove(decided);
      const late = line.takeLate();
      this.countQueued(-decided.length - late.length);
      for (const entry of late) {
        this.refuse(
          [entry],
          this.unsure.has(entry) ? new DatabaseUnavailableError(null) : new WalletLockedError(),
        );
      }
    }
  }

  /**
   * Never throws: every caller of the batch gets its own answer. Resolves with the commands whose wallet somebody else holds;
   * those of each wallet are in order.
   *
   * @param waitFor the one wallet whose lock is waited for.
   * @param giveUpAtMs when a batch that meets a lock is no longer halved.
   */
  private async commit(
    batch: readonly Queued[],
    waitFor: string | null,
    giveUpAtMs = performance.now() + HALVING_MAX_MS,
  ): Promise<readonly Queued[]> {
    if (batch.length === 0) return batch;
    const startedAtMs = performance.now();
    try {
      const results = await this.runWithRetries(batch, waitFor);
      const undecided = results.includes(null) ? batch.filter((_, index) => results[index] === null) : [];
      if (undecided.length < batch.length) {
        this.observer.committed(batch.length - undecided.length, performance.now() - startedAtMs);
      }
      batch.forEach((entry, index) => this.answer(entry, results[index]));
      return undecided;
    } catch (error) {
      const unavailable = isUnavailable(error) || error instanceof TableLockedError;
      // Halves would wait for the head of the audit log as well.
      const isLocked = isLockTimeout(error) && !isAuditHeadLocked(error);
      const isInTime = !isLocked || performance.now() < giveUpAtMs;
      if (isInTime && batch.length > 1 && (isLocked || !unavailable)) {
        return this.commitHalves(batch, giveUpAtMs);
      }
      if (isInTime && isLocked) return batch;
      const problem = unavailable ? this.toUnavailable(error) : toError(error);
      // Of a commit that is in doubt nobody can say that nothing was charged.
      const [inDoubt, known] = partition(batch, (entry) => this.unsure.has(entry));
      this.refuse(known, problem);
      this.refuse(inDoubt, unavailable ? new DatabaseUnavailableError(error) : problem);
      return [];
    }
  }

  /** One command made the database refuse the whole batch: this finds it, and lets its neighbours through. */
  private async commitHalves(batch: readonly Queued[], giveUpAtMs: number): Promise<readonly Queued[]> {
    const middle = batch.length >> 1;
    const undecided = await this.commit(batch.slice(0, middle), null, giveUpAtMs);
    const accountIds = new Set(undecided.map(({ command }) => command.accountId));
    // Nothing overtakes an earlier command of its wallet.
    const [waiting, free] = partition(batch.slice(middle), ({ command }) =>
      accountIds.has(command.accountId),
    );
    return [...undecided, ...waiting, ...(await this.commit(free, null, giveUpAtMs))];
  }

  private toUnavailable(error: unknown): DatabaseUnavailableError {
    if (isAuditHeadLocked(error)) return new AuditLogLockedError(error);
    if (!isOutdated(error)) return new DatabaseUnavailableError(error);
    if (!this.outdatedLogged) {
      this.logger.error(
        { event: 'engine.outdated', err: error },
        'This process is older than the database allows; stop it',
      );
    }
    this.outdatedLogged = true;
    return new ProcessOutdatedError(error);
  }

  private answer(entry: Queued, result: Result | Undecided | undefined): void {
    if (result === null) return;
    if (result === undefined)
      return entry.reject(new Error('the store answered fewer results than commands'));
    if (result.accepted) {
      this.observer.accepted(entry.command, result.outcome);
      return entry.resolve(result.outcome);
    }
    this.observer.refused(result.rejection);
    entry.reject(problemOf(result.rejection, entry.command));
  }

  /** The whole batch again, from its start: references are unique, so even a lost COMMIT is safe to repeat. */
  private async runWithRetries(
    batch: readonly Queued[],
    waitFor: string | null,
  ): Promise<readonly (Result | Undecided)[]> {
    const commands = batch.map((entry) => entry.command);
    const giveUpAtMs = performance.now() + WAIT_MAX_MS;
    for (let attempt = 0, reconnects = 0; ; attempt += 1) {
      try {
        return await this.store.run(commands, waitFor);
      } catch (error) {
        this.observer.retried(error);
        if (isTransient(error) && attempt < TRANSIENT_ATTEMPTS_MAX) continue;
        const isLocked = error instanceof TableLockedError || isAuditHeadLocked(error);
        if (isLocked && performance.now() < giveUpAtMs) continue;
        if (!isConnectionFailure(error)) throw error;
        for (const entry of batch) this.unsure.add(entry);
        const delayMs = RECONNECT_DELAYS_MS[reconnects];
        if (delayMs === undefined || performance.now() + delayMs > giveUpAtMs) throw error;
        reconnects += 1;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }
}

async function gather(lane: Lane): Promise<void> {
  for (let turn = 1, before = 0; turn <= GATHERING_TURNS_MAX && lane.freeCount < BATCH_MAX; turn += 1) {
    if (turn > GATHERING_TURNS_MIN && lane.freeCount === before) return;
    before = lane.freeCount;
    await nextTurn();
  }
}

/** FNV-1a: cheap, and spreads ids that differ only in their last characters. */
function laneOf(accountId: string, lanes: number): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < accountId.length; index += 1) {
    hash = Math.imul(hash ^ accountId.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0) % lanes;
}

function partition<T>(all: readonly T[], isIn: (one: T) => boolean): [T[], T[]] {
  return [all.filter(isIn), all.filter((one) => !isIn(one))];
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

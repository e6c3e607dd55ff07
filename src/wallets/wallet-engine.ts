import { setImmediate as nextTurn } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { isConnectionFailure, isTransient, isUnavailable } from '../database/constraints.js';
import { isPlatformBook } from '../ledger/transfer.js';
import { DatabaseUnavailableError } from '../problems/common.errors.js';
import { EngineSaturatedError, problemOf } from './wallet.errors.js';
import { BATCH_MAX, Lane, type Queued } from './engine-lane.js';
import { ENGINE_OBSERVER, type EngineObserver } from './engine-observer.js';
import type { Result } from './rules/batch.js';
import type { WalletCommand } from './rules/command.js';
import type { Outcome } from './rules/outcome.js';
import { WalletStore } from './store/wallet-store.js';

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
  /** The lanes whose next batch gathers. */
  private readonly gathering = new Set<Lane>();
  private readonly running = new Set<Promise<void>>();
  private queued = 0;
  private taken = 0;

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
    const lane = this.laneFor(command.accountId);
    return new Promise<Outcome>((resolve, reject) => {
      lane.add({ arrival: this.taken++, command, resolve, reject });
      this.queued += 1;
      this.observer.queueLength(this.queued);
      this.advance(lane);
    });
  }

  /** Finishes everything that was accepted. */
  async onApplicationShutdown(): Promise<void> {
    // Each batch begins what has come meanwhile before it ends.
    while (this.running.size > 0) await Promise.all(this.running);
  }

  private laneFor(accountId: string): Lane {
    if (isPlatformBook(accountId)) return this.platformLane;
    return this.lanes[laneOf(accountId, this.lanes.length)] as Lane;
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
    this.queued -= batch.length;
    this.observer.queueLength(this.queued);
    this.advance(lane);
    await this.commit(batch);
    lane.end(batch);
    this.advance(lane);
  }

  /** Never throws: every caller of the batch gets its own answer. */
  private async commit(batch: readonly Queued[]): Promise<void> {
    const startedAtMs = performance.now();
    try {
      const results = await this.runWithRetries(batch.map((entry) => entry.command));
      this.observer.committed(batch.length, performance.now() - startedAtMs);
      batch.forEach((entry, index) => this.answer(entry, results[index]));
    } catch (error) {
      const unavailable = isUnavailable(error);
      if (batch.length > 1 && !unavailable) {
        // One command made the database refuse the whole batch: find it, and let its neighbours through.
        const middle = batch.length >> 1;
        await this.commit(batch.slice(0, middle));
        await this.commit(batch.slice(middle));
        return;
      }
      this.observer.failed(batch.length, error);
      const problem = unavailable ? new DatabaseUnavailableError(error) : toError(error);
      for (const entry of batch) entry.reject(problem);
    }
  }

  private answer(entry: Queued, result: Result | undefined): void {
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
  private async runWithRetries(commands: readonly WalletCommand[]): Promise<readonly Result[]> {
    for (let attempt = 0, reconnects = 0; ; attempt += 1) {
      try {
        return await this.store.run(commands);
      } catch (error) {
        this.observer.retried(error);
        if (isTransient(error) && attempt < TRANSIENT_ATTEMPTS_MAX) continue;
        const delayMs = isConnectionFailure(error) ? RECONNECT_DELAYS_MS[reconnects] : undefined;
        if (delayMs === undefined) throw error;
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

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

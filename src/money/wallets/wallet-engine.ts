import { setImmediate as nextIteration } from 'node:timers/promises';
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
import { EngineSaturatedError, toProblem, WalletLockedError } from './wallet.errors.js';
import type { Result } from './rules/batch.js';
import type { WalletCommand, Outcome, Rejection } from './rules/command.js';
import { TableLockedError, WalletStore, type Undecided } from './store/wallet-store.js';

/** About a second of work. Beyond it a command is refused at once, instead of timing out. */
const QUEUE_MAX = 10_000;
/**
 * A batch begins after the first iteration of the event loop that brings no command, and never before the second: the first one
 * only handles what had arrived already, and the next one polls the sockets again. The clients that the last batch answered are
 * about to send their next commands, and a batch of twice the size costs far less than two. No timer is involved; a
 * lone command waits some microseconds.
 */
const GATHERING_ITERATIONS_MIN = 2;
/** Iterations are short while there is little to do, but commands that arrive one by one must not delay the first ones. */
const GATHERING_ITERATIONS_MAX = 10;
/** A deadlock or serialization failure rarely happens twice. */
const TRANSIENT_ATTEMPTS_MAX = 5;
/** A command that the database could not decide within this is refused with a 503, and one that has waited this long is not tried. */
const WAIT_MAX_MS = 10_000;
/**
 * For how long a batch is halved whose parts run into locks of rows other than wallets: twice the time that it takes to find one
 * such row in a full batch. A part that is not decided by then ran into the lock of a table, and is refused with a 503.
 */
const HALVING_MAX_MS = 4_000;
/** A server that restarts is available again within these delays. After them, commands are refused with a 503. */
const RECONNECT_DELAYS_MS = [50, 200, 500, 1_000, 2_000] as const;

/** The settings `ENGINE_LANES` and `ENGINE_OVERLAP_FROM`. */
export type EngineOptions = { readonly lanes: number; readonly overlapFrom: number };
export const ENGINE_OPTIONS = Symbol('ENGINE_OPTIONS');

/** Is informed of what the engine does. `EngineMetrics` implements it, so the engine does not depend on metrics. */
export interface EngineObserver {
  queueLength(length: number): void;
  saturated(): void;
  committed(batchSize: number, durationMs: number): void;
  failed(batchSize: number, error: unknown): void;
  retried(error: unknown): void;
  accepted(command: WalletCommand, outcome: Outcome): void;
  refused(rejection: Rejection): void;
}

export const ENGINE_OBSERVER = Symbol('ENGINE_OBSERVER');

const ignore = (): void => undefined;

export const silentObserver: EngineObserver = {
  queueLength: ignore,
  saturated: ignore,
  committed: ignore,
  failed: ignore,
  retried: ignore,
  accepted: ignore,
  refused: ignore,
};

/**
 * The one entry point for money. Commands queue in lanes. While one batch is committed, the next gathers, so the size of a batch
 * grows with the load and no timer delays a lone command. When the queue is long, the next batch does not wait for the first.
 */
@Injectable()
export class WalletEngine implements OnApplicationShutdown {
  private readonly lanes: readonly Lane[];
  /** A lane of its own, because a session that locks the platform's own book must never delay a customer's call. */
  private readonly platformLane: Lane;
  /**
   * The lane of commands with an audit event. Their commits wait for those of all other acts (ADR 48), and the spending of
   * customers must not share that wait. It runs one batch at a time, because a second one would wait for the first.
   */
  private readonly actLane = new Lane(Infinity);
  /** The lanes whose next batch is gathering commands. */
  private readonly gathering = new Set<Lane>();
  private readonly running = new Set<Promise<void>>();
  private readonly logger = new Logger(WalletEngine.name);
  private readonly contended = new ContendedWallets();
  private readonly contendedActs = new ContendedWallets();
  /** Commands that were sent on a connection that was lost. They may be committed already. */
  private readonly inDoubt = new WeakSet<Queued>();
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
   * How long the oldest unanswered command has waited. Commands whose wallet another session has locked do not count, nor
   * those with an audit event, because another process could not answer them either.
   */
  oldestWaitMs(): number {
    const oldestAtMs = Math.min(...[...this.lanes, this.platformLane].map((lane) => lane.oldestAtMs));
    return Math.max(0, performance.now() - oldestAtMs);
  }

  /** Finishes all commands that were accepted. */
  async onApplicationShutdown(): Promise<void> {
    // Before a batch ends, it begins the next one for the commands that have arrived in the meantime.
    while (this.running.size > 0) await Promise.all(this.running);
  }

  private laneFor({ accountId, audit }: WalletCommand): Lane {
    if (audit !== undefined) return this.actLane;
    if (isPlatformBook(accountId)) return this.platformLane;
    return this.lanes[toLaneIndex(accountId, this.lanes.length)] as Lane;
  }

  /** The queue of the lane's commands whose wallet another session has locked. */
  private getContended(lane: Lane): ContendedWallets {
    return lane === this.actLane ? this.contendedActs : this.contended;
  }

  private enqueue(entry: Queued): void {
    const lane = this.laneFor(entry.command);
    const contended = this.getContended(lane);
    if (contended.has(entry.command.accountId)) return this.contend(contended, [entry]);
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
    this.contend(this.getContended(lane), [...undecided, ...heldBack]);
    lane.end(batch);
    this.advance(lane);
  }

  /** Refuses commands that have waited too long. While the database does not answer, they would only wait longer. */
  private withoutLate(batch: readonly Queued[]): readonly Queued[] {
    const arrivedAtMsMin = performance.now() - WAIT_MAX_MS;
    const isLate = ({ arrivedAtMs }: Queued): boolean => arrivedAtMs < arrivedAtMsMin;
    if (!batch.some(isLate)) return batch;
    this.refuse(batch.filter(isLate), new DatabaseUnavailableError(new Error('the command waited too long')));
    return batch.filter((entry) => !isLate(entry));
  }

  private refuse(entries: readonly Queued[], problem: Error): void {
    if (entries.length === 0) return;
    this.observer.failed(entries.length, problem);
    for (const entry of entries) entry.reject(problem);
  }

  /** Queues commands for the lock of their wallet. */
  private contend(queue: ContendedWallets, entries: readonly Queued[]): void {
    if (entries.length === 0) return;
    const isIdle = queue.isEmpty;
    for (const entry of entries) {
      if (queue.add(entry)) {
        this.countQueued(1);
        continue;
      }
      this.observer.saturated();
      entry.reject(new EngineSaturatedError());
    }
    if (!isIdle) return;
    const run = this.runContended(queue).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private async runContended(queue: ContendedWallets): Promise<void> {
    while (!queue.isEmpty) {
      const { waitFor, batch } = queue.next();
      const undecided = new Set(await this.commit(batch, waitFor));
      queue.moveToEnd(waitFor);
      const decided = batch.filter((entry) => !undecided.has(entry));
      queue.remove(decided);
      const late = queue.takeLate();
      this.countQueued(-decided.length - late.length);
      for (const entry of late) {
        this.refuse(
          [entry],
          this.inDoubt.has(entry) ? new DatabaseUnavailableError(null) : new WalletLockedError(),
        );
      }
    }
  }

  /**
   * Never rejects: every command of the batch gets its own answer. Resolves with the commands whose wallet another session has
   * locked, in the order of their arrival for each wallet.
   *
   * @param waitFor the one wallet whose lock is waited for.
   * @param giveUpAtMs when a batch that runs into a lock is no longer halved.
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
      // The halves would wait for the head of the audit log as well.
      const isLocked = isLockTimeout(error) && !isAuditHeadLocked(error);
      const isInTime = !isLocked || performance.now() < giveUpAtMs;
      if (isInTime && batch.length > 1 && (isLocked || !unavailable)) {
        return this.commitHalves(batch, giveUpAtMs);
      }
      if (isInTime && isLocked) return batch;
      const problem = unavailable ? this.toUnavailable(error) : toError(error);
      // After a commit that is in doubt, the answer must not say that nothing was charged.
      const [inDoubt, known] = partition(batch, (entry) => this.inDoubt.has(entry));
      this.refuse(known, problem);
      this.refuse(inDoubt, unavailable ? new DatabaseUnavailableError(error) : problem);
      return [];
    }
  }

  /** One command made the database refuse the whole batch. Halving finds it, and commits the others. */
  private async commitHalves(batch: readonly Queued[], giveUpAtMs: number): Promise<readonly Queued[]> {
    const middle = batch.length >> 1;
    const undecided = await this.commit(batch.slice(0, middle), null, giveUpAtMs);
    const accountIds = new Set(undecided.map(({ command }) => command.accountId));
    // No command may overtake an earlier one of its wallet.
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
    entry.reject(toProblem(result.rejection, entry.command));
  }

  /** Repeats the whole batch from its start. References are unique, so even a COMMIT whose answer was lost is safe to repeat. */
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
        for (const entry of batch) this.inDoubt.add(entry);
        const delayMs = RECONNECT_DELAYS_MS[reconnects];
        if (delayMs === undefined || performance.now() + delayMs > giveUpAtMs) throw error;
        reconnects += 1;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }
}

async function gather(lane: Lane): Promise<void> {
  for (
    let iteration = 1, before = 0;
    iteration <= GATHERING_ITERATIONS_MAX && lane.freeCount < BATCH_MAX;
    iteration += 1
  ) {
    if (iteration > GATHERING_ITERATIONS_MIN && lane.freeCount === before) return;
    before = lane.freeCount;
    await nextIteration();
  }
}

/** FNV-1a is cheap, and distributes ids evenly that differ only in their last characters. */
function toLaneIndex(accountId: string, lanes: number): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < accountId.length; index += 1) {
    hash = Math.imul(hash ^ accountId.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0) % lanes;
}

function partition<T>(all: readonly T[], isFirst: (element: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((element) => !isFirst(element))];
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Larger batches hold the locks of their wallets longer without committing more per second. */
export const BATCH_MAX = 512;
/**
 * Two batches alternate: while the database works on one, this process works on the other. A third one waited for either of them
 * most of the time, and added at most 5% to what two commit.
 */
const BATCHES_MAX = 2;

export type Queued = {
  /** How many commands the engine had accepted before this one: commands are served in the order of their arrival. */
  readonly arrival: number;
  readonly arrivedAtMs: number;
  readonly command: WalletCommand;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: Error) => void;
};

/**
 * Commands that wait, and the batches of them that are being committed. A wallet is in at most one of these batches, and later
 * commands for it wait until that batch has ended, so the commands of a wallet are decided in the order of their arrival.
 * A batch takes the oldest commands that are free, so no command waits for later ones, however busy another wallet is.
 */
export class Lane {
  /** In the order of arrival. */
  private free: Queued[] = [];
  /** For each wallet of a running batch, the commands that have arrived for it since. */
  private readonly heldBack = new Map<string, Queued[]>();
  private readonly running = new Set<readonly Queued[]>();

  /**
   * @param overlapFrom a second batch begins while the first is running when this many free commands wait, and no fewer than
   *   the first has. Two small batches cost more than one, and would be answered no sooner.
   */
  constructor(private readonly overlapFrom: number) {}

  add(entry: Queued): void {
    const queue = this.heldBack.get(entry.command.accountId) ?? this.free;
    queue.push(entry);
  }

  /** How many commands wait whose wallet is in no running batch. */
  get freeCount(): number {
    return this.free.length;
  }

  get mayBegin(): boolean {
    const [first] = this.running;
    if (first === undefined) return this.free.length > 0;
    return this.running.size < BATCHES_MAX && this.free.length >= Math.max(this.overlapFrom, first.length);
  }

  /** When the oldest command arrived that is not answered yet; `Infinity` when there is none. */
  get oldestAtMs(): number {
    const waiting = [this.free[0], ...[...this.running].map((batch) => batch[0])];
    return Math.min(...waiting.map((entry) => entry?.arrivedAtMs ?? Infinity));
  }

  /** Takes the oldest free commands as the next batch, which is running until `end`. */
  begin(): readonly Queued[] {
    const batch = this.free.splice(0, BATCH_MAX);
    for (const { command } of batch) {
      if (!this.heldBack.has(command.accountId)) this.heldBack.set(command.accountId, []);
    }
    const rest = this.free;
    this.free = [];
    for (const entry of rest) this.add(entry);
    this.running.add(batch);
    return batch;
  }

  /** Takes the commands that were held back for a wallet of a running batch, because they now wait in another queue. */
  takeHeldBack(accountId: string): readonly Queued[] {
    const entries = this.heldBack.get(accountId) ?? [];
    if (entries.length > 0) this.heldBack.set(accountId, []);
    return entries;
  }

  /** The commands that were held back for the wallets of the batch are free now, in the order of their arrival. */
  end(batch: readonly Queued[]): void {
    this.running.delete(batch);
    const released: Queued[] = [];
    for (const { command } of batch) {
      for (const entry of this.heldBack.get(command.accountId) ?? []) released.push(entry);
      this.heldBack.delete(command.accountId);
    }
    if (released.length > 0) this.free = released.concat(this.free).sort((a, b) => a.arrival - b.arrival);
  }
}

/**
 * How long a command waits for the lock of its wallet. A process that is paused loses its locks within a second (see
 * `WalletStore`). A session that holds a lock for longer is stuck, and is not waited for.
 */
const LOCKED_FOR_MS_MAX = 2_000;
/** For each wallet. Without this limit, a busy wallet that is stuck would fill the queue that all wallets share. */
const WAITING_PER_WALLET_MAX = 4 * BATCH_MAX;

type Waiting = { readonly entry: Queued; readonly sinceMs: number };

/**
 * Commands whose wallet another session had locked when their batch ran: another process that works on the same wallet, one that
 * is paused, or a session of `psql`. Later commands for such a wallet wait here after them, so the commands of a wallet are
 * decided in the order of their arrival.
 *
 * A batch of these waits for one wallet, up to the lock timeout, and takes all others that are free by then. So wallets on which
 * two processes work change over without delay, and a wallet that is stuck delays the others by no more than that timeout.
 */
export class ContendedWallets {
  /** The batch after this one waits for the first wallet. */
  private readonly wallets = new Map<string, Waiting[]>();

  get isEmpty(): boolean {
    return this.wallets.size === 0;
  }

  has(accountId: string): boolean {
    return this.wallets.size > 0 && this.wallets.has(accountId);
  }

  /** Returns false when too many commands wait for this wallet already. */
  add(entry: Queued): boolean {
    const { accountId } = entry.command;
    const waiting = this.wallets.get(accountId) ?? [];
    if (waiting.length >= WAITING_PER_WALLET_MAX) return false;
    waiting.push({ entry, sinceMs: performance.now() });
    this.wallets.set(accountId, waiting);
    return true;
  }

  /** Removes and returns the commands that have waited for too long. */
  takeLate(): readonly Queued[] {
    const sinceMsMin = performance.now() - LOCKED_FOR_MS_MAX;
    const late = [...this.wallets.values()].flat().filter(({ sinceMs }) => sinceMs < sinceMsMin);
    const entries = late.map(({ entry }) => entry);
    this.remove(entries);
    return entries;
  }

  /** The oldest commands of as many wallets as fit, with the same share of the batch for each. They stay here until `remove`. */
  next(): { readonly waitFor: string; readonly batch: readonly Queued[] } {
    const wallets = [...this.wallets].slice(0, BATCH_MAX);
    const share = Math.floor(BATCH_MAX / wallets.length);
    const batch = wallets.flatMap(([, waiting]) => waiting.slice(0, share).map(({ entry }) => entry));
    return { waitFor: wallets[0]?.[0] ?? '', batch };
  }

  /** Removes commands that are answered. The other commands of their wallets go to the end of the queue. */
  remove(entries: readonly Queued[]): void {
    const removed = new Set(entries);
    for (const accountId of new Set(entries.map(({ command }) => command.accountId))) {
      const left = (this.wallets.get(accountId) ?? []).filter(({ entry }) => !removed.has(entry));
      this.wallets.delete(accountId);
      if (left.length > 0) this.wallets.set(accountId, left);
    }
  }

  /** Moves a wallet that was waited for to the end, whether or not it could be locked. */
  moveToEnd(accountId: string): void {
    const waiting = this.wallets.get(accountId);
    this.wallets.delete(accountId);
    if (waiting !== undefined) this.wallets.set(accountId, waiting);
  }
}

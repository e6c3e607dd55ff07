import type { WalletCommand, Outcome } from './rules/command.js';

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
const WAIT_MAX_MS = 2_000;
/** For each wallet. Without this limit, a busy wallet that is stuck would fill the queue that all wallets share. */
const WAITING_MAX = 4 * BATCH_MAX;

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
    if (waiting.length >= WAITING_MAX) return false;
    waiting.push({ entry, sinceMs: performance.now() });
    this.wallets.set(accountId, waiting);
    return true;
  }

  /** Removes and returns the commands that have waited for too long. */
  takeLate(): readonly Queued[] {
    const sinceMsMin = performance.now() - WAIT_MAX_MS;
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

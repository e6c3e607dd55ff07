import type { WalletCommand } from './rules/command.js';
import type { Outcome } from './rules/outcome.js';

/** Larger batches hold their wallets' locks longer without committing more per second. */
export const BATCH_MAX = 512;
/**
 * Two take turns: while one is with the database, the other is with us. A third waited for either most of the time, and added
 * at most 5% to what two commit.
 */
const BATCHES_MAX = 2;

export type Queued = {
  /** How many commands the engine had taken before this one: who came first, goes first. */
  readonly arrival: number;
  readonly arrivedAtMs: number;
  readonly command: WalletCommand;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: Error) => void;
};

/**
 * Commands that wait, and the batches of them that commit now. A wallet is in one of these at most, and whatever else
 * comes for it waits until that batch is over: so the commands of a wallet are decided in the order of their arrival.
 * A batch takes the oldest commands that may go, so nobody waits for what came later, however busy another wallet is.
 */
export class Lane {
  /** In the order of arrival. */
  private free: Queued[] = [];
  /** For each wallet of a running batch, what has come for it since. */
  private readonly heldBack = new Map<string, Queued[]>();
  private readonly running = new Set<readonly Queued[]>();

  /**
   * @param overlapFrom a second batch begins beside the first when so many commands wait that could go, and no fewer than
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

  /** When the oldest command came that is not answered yet; `Infinity` when there is none. */
  get oldestAtMs(): number {
    const waiting = [this.free[0], ...[...this.running].map((batch) => batch[0])];
    return Math.min(...waiting.map((entry) => entry?.arrivedAtMs ?? Infinity));
  }

  /** The oldest free commands; they are running until `end`. */
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

  /** What was held back for a wallet of a running batch, and now waits elsewhere. */
  takeHeldBack(accountId: string): readonly Queued[] {
    const entries = this.heldBack.get(accountId) ?? [];
    if (entries.length > 0) this.heldBack.set(accountId, []);
    return entries;
  }

  /** Whatever was held back for the batch's wallets is free now, each in the place of its arrival. */
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

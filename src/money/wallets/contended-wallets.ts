import { BATCH_MAX, type Queued } from './engine-lane.js';

/**
 * How long a command waits for the lock of its wallet. A process that stands still loses its locks within a second (see
 * `WalletStore`); what holds one for longer is stuck, and its end is not waited for.
 */
const WAIT_MAX_MS = 2_000;
/** For each wallet. Without it, a busy wallet that is stuck would fill the queue of all others. */
const WAITING_MAX = 4 * BATCH_MAX;

type Waiting = { readonly entry: Queued; readonly sinceMs: number };

/**
 * Commands whose wallet somebody else held as their batch came: another process that works on the same wallet, one that stands
 * still, or a session of `psql`. Whatever comes for such a wallet waits here behind them, so the commands of a wallet are decided
 * in the order of their arrival.
 *
 * A batch of these waits for one wallet, for a moment, and takes all others that are free by then. So wallets that
 * two processes are busy with change hands at once, and none that is stuck holds another one up for longer than that moment.
 */
export class ContendedWallets {
  /** The first is the next to be waited for. */
  private readonly wallets = new Map<string, Waiting[]>();

  get isEmpty(): boolean {
    return this.wallets.size === 0;
  }

  has(accountId: string): boolean {
    return this.wallets.size > 0 && this.wallets.has(accountId);
  }

  /** False: too many wait for this wallet already. */
  add(entry: Queued): boolean {
    const { accountId } = entry.command;
    const waiting = this.wallets.get(accountId) ?? [];
    if (waiting.length >= WAITING_MAX) return false;
    waiting.push({ entry, sinceMs: performance.now() });
    this.wallets.set(accountId, waiting);
    return true;
  }

  /** Takes out what has waited for too long. */
  takeLate(): readonly Queued[] {
    const sinceMsMin = performance.now() - WAIT_MAX_MS;
    const late = [...this.wallets.values()].flat().filter(({ sinceMs }) => sinceMs < sinceMsMin);
    const entries = late.map(({ entry }) => entry);
    this.remove(entries);
    return entries;
  }

  /** The oldest commands of as many wallets as fit, each with the same share of the batch. They stay until they are removed. */
  next(): { readonly waitFor: string; readonly batch: readonly Queued[] } {
    const wallets = [...this.wallets].slice(0, BATCH_MAX);
    const share = Math.floor(BATCH_MAX / wallets.length);
    const batch = wallets.flatMap(([, waiting]) => waiting.slice(0, share).map(({ entry }) => entry));
    return { waitFor: wallets[0]?.[0] ?? '', batch };
  }

  /** The commands are answered. What else waits for their wallets is behind all others now. */
  remove(entries: readonly Queued[]): void {
    const removed = new Set(entries);
    for (const accountId of new Set(entries.map(({ command }) => command.accountId))) {
      const left = (this.wallets.get(accountId) ?? []).filter(({ entry }) => !removed.has(entry));
      this.wallets.delete(accountId);
      if (left.length > 0) this.wallets.set(accountId, left);
    }
  }

  /** Its turn is over, whether or not its lock could be had. */
  putAfter(accountId: string): void {
    const waiting = this.wallets.get(accountId);
    this.wallets.delete(accountId);
    if (waiting !== undefined) this.wallets.set(accountId, waiting);
  }
}

import type { WebhookDelivery } from './webhook-delivery.js';
import { ATTEMPT_TIMEOUT_MS } from './webhook-sender.js';

/** The attempts to one endpoint at a time. A receiver that hangs for 15 s must not get many connections at once. */
export const PER_ENDPOINT_MAX = 2;
/** The attempts of one account at a time. It is less than its number of endpoints, so an account whose receivers all hang is delayed as a whole. */
export const PER_ACCOUNT_MAX = 8;
/** The connections of this process. Each is a socket and a few kilobytes. */
export const PER_PROCESS_MAX = 256;
/** The longest time until a delayed delivery is checked again, however many others are delayed. */
const DELAY_MAX_MS = 10 * 60_000;

type Use = { running: number; againAtMs: number };

export type Slot =
  /** Call `release` when the attempt is over. `quick` says that the receiver was fast, so the delays it caused are dropped. */
  | { readonly kind: 'taken'; readonly release: (quick: boolean) => void }
  | { readonly kind: 'full'; readonly againAtMs: number };

/**
 * Limits how many attempts this process makes at the same time: for an endpoint, an account, and in all. Beyond that a
 * delivery is delayed, each a little longer than the one before, at the pace at which hanging receivers free their
 * slots. The counts are in memory, because they only limit the connections of one process.
 */
export class AttemptSlots {
  private readonly uses = new Map<string, Use>();

  acquire({ accountId, endpointId }: Pick<WebhookDelivery, 'accountId' | 'endpointId'>, nowMs: number): Slot {
    const bounds = [
      ['process', PER_PROCESS_MAX],
      [accountId, PER_ACCOUNT_MAX],
      [endpointId, PER_ENDPOINT_MAX],
    ] as const;
    for (const [key, max] of bounds) {
      const use = this.uses.get(key);
      if (use === undefined || use.running < max) continue;
      use.againAtMs = Math.min(
        Math.max(use.againAtMs, nowMs) + ATTEMPT_TIMEOUT_MS / max,
        nowMs + DELAY_MAX_MS,
      );
      return { kind: 'full', againAtMs: Math.ceil(use.againAtMs) };
    }
    for (const [key] of bounds) this.getUse(key).running += 1;
    return { kind: 'taken', release: (quick) => bounds.forEach(([key]) => this.release(key, quick)) };
  }

  private getUse(key: string): Use {
    const use = this.uses.get(key) ?? { running: 0, againAtMs: 0 };
    this.uses.set(key, use);
    return use;
  }

  private release(key: string, quick: boolean): void {
    const use = this.getUse(key);
    use.running -= 1;
    if (quick) use.againAtMs = 0;
    if (use.running === 0) this.uses.delete(key);
  }
}

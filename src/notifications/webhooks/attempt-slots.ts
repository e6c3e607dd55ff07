import type { WebhookDelivery } from './webhook-delivery.js';
import { ATTEMPT_TIMEOUT_MS } from './webhook-sender.js';

/** A receiver that hangs for 15 s a time is not made worse by many connections at once. */
export const PER_ENDPOINT_MAX = 2;
/** Fewer than the endpoints of an account, so that an account whose receivers all hang is put off as a whole. */
export const PER_ACCOUNT_MAX = 8;
/** Connections of this process: each is a socket and a few kilobytes. */
export const PER_PROCESS_MAX = 256;
/** What is put off is looked at again by then, however long the row before it. */
const PUT_OFF_MAX_MS = 10 * 60_000;

type Use = { running: number; againAtMs: number };

export type Slot =
  /** `release` when the attempt is over. `quick`: whoever was put off for it need not have been. */
  | { readonly kind: 'taken'; readonly release: (quick: boolean) => void }
  | { readonly kind: 'full'; readonly againAtMs: number };

/**
 * How many attempts this process makes at the same time: for an endpoint, an account, and in all. Beyond that a
 * delivery is put off, each a little later than the one before, at the pace at which hanging receivers free their
 * slots. Kept in memory: it bounds what one process holds open, and promises nothing else.
 */
export class AttemptSlots {
  private readonly uses = new Map<string, Use>();

  take({ accountId, endpointId }: Pick<WebhookDelivery, 'accountId' | 'endpointId'>, nowMs: number): Slot {
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
        nowMs + PUT_OFF_MAX_MS,
      );
      return { kind: 'full', againAtMs: Math.ceil(use.againAtMs) };
    }
    for (const [key] of bounds) this.useOf(key).running += 1;
    return { kind: 'taken', release: (quick) => bounds.forEach(([key]) => this.release(key, quick)) };
  }

  private useOf(key: string): Use {
    const use = this.uses.get(key) ?? { running: 0, againAtMs: 0 };
    this.uses.set(key, use);
    return use;
  }

  private release(key: string, quick: boolean): void {
    const use = this.useOf(key);
    use.running -= 1;
    if (quick) use.againAtMs = 0;
    if (use.running === 0) this.uses.delete(key);
  }
}

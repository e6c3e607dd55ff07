import type { MonotonicClock } from '../../platform/common/clock.js';
import type { Meter } from './meter.js';
import type { Usage } from './usage.js';

/** Long enough that a flood costs Redis almost nothing; short enough that a client that was refused narrowly is soon admitted. */
const REMEMBERED_MS = 1_000;
/** Each is a key over its limit; beyond this number, Redis is asked again. */
const REFUSALS_MAX = 10_000;

type Refusal = { readonly usages: readonly Usage[]; readonly untilMs: number };

/**
 * Refuses again, without counting, what was just refused. The library's `inMemoryBlockOnConsumed` knows neither what the
 * other limits of the request have left nor that an operator has raised this one.
 */
export class KnownRefusals {
  private readonly refusals = new Map<string, Refusal>();

  constructor(private readonly clock: MonotonicClock) {}

  find(meters: readonly Meter[]): readonly Usage[] | null {
    const refusal = this.refusals.size === 0 ? undefined : this.refusals.get(toKey(meters));
    return refusal !== undefined && this.clock.monotonicMs() < refusal.untilMs ? refusal.usages : null;
  }

  remember(meters: readonly Meter[], usages: readonly Usage[]): void {
    if (this.refusals.size >= REFUSALS_MAX) this.refusals.clear();
    const waitsMs = usages.filter(({ exceeded }) => exceeded).map(({ resetMs }) => resetMs ?? 0);
    const untilMs = this.clock.monotonicMs() + Math.min(REMEMBERED_MS, ...waitsMs);
    this.refusals.set(toKey(meters), { usages, untilMs });
  }
}

function toKey(meters: readonly Meter[]): string {
  return meters.map(({ key, max }) => `${key}=${max}`).join();
}

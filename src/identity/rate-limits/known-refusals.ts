import type { MonotonicClock } from '../../platform/common/clock.js';
import type { Meter } from './meter.js';
import type { Usage } from './usage.js';

/** Long enough that a flood costs Redis next to nothing; so short that whoever was refused by a hair's breadth gets in. */
const REMEMBERED_MS = 1_000;
/** A key over its limit each; beyond it Redis is asked again. */
const REFUSALS_MAX = 10_000;

type Refusal = { readonly usages: readonly Usage[]; readonly untilMs: number };

/**
 * What was just refused is refused again without counting. The library's `inMemoryBlockOnConsumed` knows neither what the
 * other limits of the request have left nor that an operator has raised this one.
 */
export class KnownRefusals {
  private readonly refusals = new Map<string, Refusal>();

  constructor(private readonly clock: MonotonicClock) {}

  find(meters: readonly Meter[]): readonly Usage[] | null {
    const refusal = this.refusals.size === 0 ? undefined : this.refusals.get(idOf(meters));
    return refusal !== undefined && this.clock.monotonicMs() < refusal.untilMs ? refusal.usages : null;
  }

  remember(meters: readonly Meter[], usages: readonly Usage[]): void {
    if (this.refusals.size >= REFUSALS_MAX) this.refusals.clear();
    const waitsMs = usages.filter(({ exceeded }) => exceeded).map(({ resetMs }) => resetMs ?? 0);
    const untilMs = this.clock.monotonicMs() + Math.min(REMEMBERED_MS, ...waitsMs);
    this.refusals.set(idOf(meters), { usages, untilMs });
  }
}

function idOf(meters: readonly Meter[]): string {
  return meters.map(({ key, max }) => `${key}=${max}`).join();
}

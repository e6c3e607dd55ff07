import type { Clock, MonotonicClock } from '../../../src/common/clock.js';

/**
 * Takes over the clock of one application, or of one simulator. It runs as the machine's does until a test stops it or
 * lets time pass, so no test waits and none depends on how fast the machine is.
 */
export class TestClock implements Clock, MonotonicClock {
  /** How far time has passed beyond the machine's, or has to. */
  aheadMs = 0;
  private stopped: { readonly nowMs: number; readonly monotonicMs: number } | null = null;

  /** @param clock what the application reads, `app.get(CLOCK)`. */
  static takeOver(clock: Clock & MonotonicClock): TestClock {
    const own = new TestClock();
    return Object.assign(clock, { nowMs: () => own.nowMs(), monotonicMs: () => own.monotonicMs() }) && own;
  }

  nowMs(): number {
    return (this.stopped?.nowMs ?? Date.now()) + this.aheadMs;
  }

  monotonicMs(): number {
    return (this.stopped?.monotonicMs ?? performance.now()) + this.aheadMs;
  }

  /** From here on no time passes but by `letPass`. */
  stop(): void {
    this.stopped ??= { nowMs: Date.now(), monotonicMs: performance.now() };
  }

  letPass(ms: number): void {
    this.aheadMs += ms;
  }

  /** Runs as the machine's again. Nothing of what passed in between is kept: it may go back. */
  reset(): void {
    this.stopped = null;
    this.aheadMs = 0;
  }
}

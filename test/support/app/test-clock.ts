import type { Clock, MonotonicClock } from '../../../src/platform/common/clock.js';
import type { DatabaseClock } from '../../../src/platform/database/ledger-clock.js';

/**
 * Takes over the clock of one application, or of one simulator. It runs as the machine's does until a test stops it or
 * lets time pass, so no test waits and none depends on how fast the machine is.
 */
export class TestClock implements Clock, MonotonicClock {
  private wallAheadMs = 0;
  private monotonicAheadMs = 0;
  private stopped: { readonly nowMs: number; readonly monotonicMs: number } | null = null;

  /** How far the process's own clock is wrong: the database's is not. */
  wrongByMs = 0;

  /** How far what the process takes for the database's time is wrong: it knows that only to half a round trip. */
  estimateWrongByMs = 0;

  /**
   * @param clock what the application reads, `app.get(CLOCK)`.
   * @param databaseClock of the application, where it has one: time passes at the database as well.
   * @param ledgerClock of the application, `app.get(LEDGER_CLOCK)`: right, however wrong the process's own clock is.
   */
  static takeOver(
    clock: Clock & MonotonicClock,
    databaseClock?: DatabaseClock,
    ledgerClock?: Clock,
  ): TestClock {
    const own = new TestClock();
    Object.assign(clock, {
      nowMs: () => own.nowMs() + own.wrongByMs,
      monotonicMs: () => own.monotonicMs(),
    });
    if (databaseClock !== undefined) databaseClock.read = ({ now_ms }) => own.at(Number(now_ms));
    // To the millisecond, so that a test that stopped the clock finds the time at which it did.
    if (ledgerClock !== undefined) ledgerClock.nowMs = () => own.nowMs() + own.estimateWrongByMs;
    return own;
  }

  /** How far time has passed beyond the machine's. A test may set it back; the monotonic clock goes on from where it is. */
  get aheadMs(): number {
    return this.wallAheadMs;
  }

  set aheadMs(ms: number) {
    this.monotonicAheadMs += Math.max(0, ms - this.wallAheadMs);
    this.wallAheadMs = ms;
  }

  private at(nowMs: number): number {
    return (this.stopped?.nowMs ?? nowMs) + this.wallAheadMs;
  }

  nowMs(): number {
    return this.at(Date.now());
  }

  monotonicMs(): number {
    return (this.stopped?.monotonicMs ?? performance.now()) + this.monotonicAheadMs;
  }

  /** From here on no time passes but by `letPass`. */
  stop(): void {
    this.stopped ??= { nowMs: Date.now(), monotonicMs: performance.now() };
  }

  letPass(ms: number): void {
    this.aheadMs += ms;
  }

  /** Runs as the machine's again. Nothing of what passed in between is kept: the wall clock may go back. */
  reset(): void {
    this.stopped = null;
    this.aheadMs = 0;
    this.wrongByMs = 0;
    this.estimateWrongByMs = 0;
  }
}

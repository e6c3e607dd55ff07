import type { UpstreamContext, UpstreamCounts } from './context.js';
import { toCredits } from './price.js';

export type UpstreamAccountCounts = {
  readonly submits: number;
  /** What the account was charged, in credits (US cents); a decimal such as 1.5. */
  readonly creditsUsed: number;
  readonly creditsLeft: number;
};

/** What tests and scripts can do to the simulator. */
export class SandboxBlackForestLabsControl {
  constructor(private readonly context: UpstreamContext) {}

  /**
   * Applies a directive, written as in a prompt (`moderated`, `submit=503`, `slow=5000` …), to the next
   * `times` tasks, or to all until `clearFaults()`. Throws `RangeError` for a misspelt one.
   */
  fail(directive: string, times?: number): void {
    this.context.faults.add(directive, times);
  }

  clearFaults(): void {
    this.context.faults.clear();
  }

  /** For tasks submitted from now on. */
  setLatencyMs(latencyMs: number): void {
    this.context.settings.latencyMs = latencyMs;
  }

  /** Null lifts the limit. */
  setActiveTasksMax(activeTasksMax: number | null): void {
    this.context.settings.activeTasksMax = activeTasksMax;
  }

  /** Accepts one more key, with an account of its own: a customer's, for example. */
  acceptApiKey(apiKey: string): void {
    this.context.accounts.accept(apiKey);
  }

  /** `credits` is whole; the account is made when the key is new. */
  setCredits(apiKey: string, credits: number): void {
    this.context.accounts.of(apiKey).balanceMillicredits = credits * 1_000;
  }

  counts(): Readonly<UpstreamCounts> {
    return { ...this.context.counts };
  }

  countsOf(apiKey: string): UpstreamAccountCounts {
    const { submits, usedMillicredits, balanceMillicredits } = this.context.accounts.of(apiKey);
    return { submits, creditsUsed: toCredits(usedMillicredits), creditsLeft: toCredits(balanceMillicredits) };
  }
}

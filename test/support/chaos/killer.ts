import type { SeededRandom } from '../seeded-random.js';
import { momentBetweenCommits } from '../seeded-random.js';
import type { ChaosStage, Victim } from './stage.js';

/** Kills one after the other, spread over all operations; each is over, and all runs again, before the next. */
export class Killer {
  killed = 0;
  private work = Promise.resolve();
  private planned = 0;

  constructor(
    private readonly stage: ChaosStage,
    private readonly kills: readonly (readonly Victim[])[],
    private readonly random: SeededRandom,
  ) {}

  /** `share`: how much of all operations has begun, from 0 to 1. */
  whenBegun(share: number): void {
    for (; this.planned < this.kills.length && share >= this.dueAt(this.planned); this.planned += 1) {
      const victims = this.kills[this.planned] ?? [];
      this.work = this.work.then(() => this.kill(victims));
      // Heard of in `finish`.
      this.work.catch(() => undefined);
    }
  }

  /** Rejects when a process did not start again. */
  finish(): Promise<void> {
    return this.work;
  }

  private dueAt(index: number): number {
    return (index + 1) / (this.kills.length + 1);
  }

  private async kill(victims: readonly Victim[]): Promise<void> {
    await momentBetweenCommits(this.random);
    await this.stage.killAndRestart(victims, this.random);
    this.killed += 1;
  }
}

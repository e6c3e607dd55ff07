/** How long a test may take that starts and kills processes, on a machine that is busy with others. */
export const CHAOS_TIMEOUT_MS = 180_000;

/** What a test has to undo, however it ends; the last first. */
export class CleanUp {
  private readonly steps: (() => Promise<unknown>)[] = [];

  add(step: () => Promise<unknown>): void {
    this.steps.push(step);
  }

  async run(): Promise<void> {
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) await step();
  }
}

type Step = () => Promise<unknown> | void;

/** What has to be undone when the benchmark ends, whichever way it ends: processes, servers, directories. */
export class CleanUp {
  private readonly steps: Step[] = [];
  private running: Promise<void> | null = null;

  add(step: Step): void {
    this.steps.push(step);
  }

  /** Last in, first out; a step that fails does not keep the others from running. Running it again waits for the first run. */
  run(): Promise<void> {
    this.running ??= this.runSteps();
    return this.running;
  }

  private async runSteps(): Promise<void> {
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step();
      } catch (error) {
        console.error('Cleaning up:', error);
      }
    }
  }
}

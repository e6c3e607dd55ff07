type Step = () => Promise<unknown> | void;

/** What has to be undone when the benchmark ends, however it ends: processes, servers, directories. */
export class CleanUp {
  private readonly steps: Step[] = [];
  private running: Promise<void> | null = null;

  constructor(private readonly report: (error: unknown) => void = console.error) {}

  /** What is started after cleaning up has begun, by work that does not know it yet, is undone at once. */
  add(step: Step): void {
    this.steps.push(step);
    if (this.running !== null) this.running = this.running.then(() => this.runSteps());
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
        this.report(error);
      }
    }
  }
}

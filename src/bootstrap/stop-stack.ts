import type { Logger } from 'pino';

type Step = { readonly what: string; readonly stop: () => Promise<void> | void };

/** What has been started, to be stopped in the opposite order, wherever the start got to. */
export class StopStack {
  private readonly steps: Step[] = [];

  constructor(private readonly log: Logger) {}

  push(what: string, stop: Step['stop']): void {
    this.steps.push({ what, stop });
  }

  /** Stops everything once. One part that fails to stop does not keep the next ones running; answers whether all did. */
  async unwind(): Promise<boolean> {
    let clean = true;
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step.stop();
      } catch (error) {
        clean = false;
        this.log.error({ err: error }, `could not stop ${step.what}`);
      }
    }
    return clean;
  }
}

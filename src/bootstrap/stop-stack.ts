import type { Logger } from 'pino';

type Step = { readonly what: string; readonly stop: () => Promise<void> | void };

/** The parts that have been started, to be stopped in the opposite order, however far the start got. */
export class StopStack {
  private readonly steps: Step[] = [];

  constructor(private readonly log: Logger) {}

  push(what: string, stop: Step['stop']): void {
    this.steps.push({ what, stop });
  }

  /** Stops everything once. A part that fails to stop does not prevent the next ones from stopping; returns whether all stopped. */
  async unwind(): Promise<boolean> {
    let clean = true;
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step.stop();
      } catch (error) {
        clean = false;
        this.log.error(
          { event: 'service.stop_failed', part: step.what, err: error },
          `could not stop ${step.what}`,
        );
      }
    }
    return clean;
  }
}

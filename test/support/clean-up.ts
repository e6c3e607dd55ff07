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

let steps: (() => void)[] = [];

/**
 * Undoes what holds up a process when the test that runs is over, also when it failed or took too long. Otherwise every
 * later call in the applications that the specs of a worker share would wait with it.
 */
export function undoAfterTest(step: () => void): void {
  steps.push(step);
}

/** Called by the test environment before the hooks that follow a test. */
function endTest(): void {
  const ended = steps.reverse();
  steps = [];
  for (const step of ended) step();
}

Reflect.set(globalThis, Symbol.for('coffer.end-test'), endTest);

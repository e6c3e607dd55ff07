/** For probes, which a test loads into a process before its program (`probed-service.ts`). */
import { createInterface } from 'node:readline';

/** For each line on standard input, runs the probe and prints what it found: `probed {…}`. */
export function answerLine(probe) {
  createInterface({ input: process.stdin }).on('line', () => {
    void probe().then((found) => process.stdout.write(`probed ${JSON.stringify(found)}\n`));
  });
}

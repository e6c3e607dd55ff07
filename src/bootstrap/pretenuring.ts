import { setFlagsFromString } from 'node:v8';

/**
 * V8 counts which objects live long, by the line of code that makes them, and then makes all objects of such a line in the old
 * generation at once. Ours make both: a row that a slow moment kept for long, and a million rows that are garbage when the answer is
 * sent. Garbage in the old generation keeps everything that it refers to until the next full collection, so the collector
 * copied twice as much of each call (ADR 55).
 */
export function disablePretenuring(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

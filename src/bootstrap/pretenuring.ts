import { setFlagsFromString } from 'node:v8';

/**
 * V8 records for each line of code how long the objects it makes live, and when many live long it allocates all objects of
 * that line in the old generation. Coffer's lines make both kinds: a row that is kept long during a slow moment, and a million
 * rows that are garbage when the answer is sent. Garbage in the old generation keeps everything that it refers to until the
 * next full collection, so the collector copied twice as much of each call (ADR 55).
 */
export function disablePretenuring(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

import { setFlagsFromString } from 'node:v8';

/**
 * How much the heap may grow over what is in use before the next full collection. V8's own choice is up to 300, and more on
 * larger machines: a flood of requests then leaves two or three times as much garbage as there is in use, and buffers that
 * only this garbage refers to.
 */
const HEAP_GROWTH_PERCENT = 100;

/** It is set by the program itself, so that it applies however the process was started. It does not limit the heap in use. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
}

/**
 * V8 records for each line of code how long the objects it makes live, and when many live long it allocates all objects of
 * that line in the old generation. Coffer's lines make both kinds: a row that is kept long during a slow moment, and a million
 * rows that are garbage when the answer is sent. Garbage in the old generation keeps everything that it refers to until the
 * next full collection, so the collector copied twice as much of each call (ADR 55).
 */
export function disablePretenuring(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

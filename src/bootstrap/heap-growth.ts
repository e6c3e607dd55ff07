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

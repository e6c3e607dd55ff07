import { setFlagsFromString } from 'node:v8';

/**
 * How much the heap may grow over what is in use before the next full collection. V8 chooses up to 300 by itself, and more the
 * larger the machine is: a flood of requests then leaves two or three times as much garbage as there is in use, and buffers
 * that only this garbage refers to.
 */
const HEAP_GROWTH_PERCENT = 100;

/** Set from inside, so that it holds however the process was started. A heap that is in use may be of any size, as before. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
}

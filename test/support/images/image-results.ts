import type { ImageResult } from '../../../src/gateway/images/calls/image-maker.service.js';

/** What became of one image of a call. */
export function imageResult(position: number, isDelivered: boolean): ImageResult {
  return {
    position,
    attempt: 1,
    provider: 'black_forest_labs',
    task: null,
    finishedAtMs: 0,
    cause: null,
    ...(isDelivered
      ? { bytes: 7, format: 'jpeg', failure: null, image: Buffer.alloc(7) }
      : { bytes: null, format: null, failure: 'failed', image: null }),
  };
}

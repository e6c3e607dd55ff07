import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { ImageResult } from '../../src/generation/image-maker.service.js';
import { agreeWithHold } from '../../src/generation/recovery/agree-with-hold.js';

function result(position: number, isDelivered: boolean): ImageResult {
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

describe('a receipt written by recovery', () => {
  it('shows exactly as many delivered images as the hold says were paid, and keeps every position', () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }),
        fc.nat({ max: 10 }),
        (kept, paid) => {
          const imagesPaid = Math.min(paid, kept.length);
          const agreed = agreeWithHold(
            kept.map((isDelivered, position) => result(position, isDelivered)),
            imagesPaid,
          );
          expect(agreed.filter((image) => image.failure === null)).toHaveLength(imagesPaid);
          expect(agreed.map((image) => image.position)).toEqual(kept.map((_, position) => position));
          for (const image of agreed) expect(image.failure === null).toBe(image.bytes !== null);
        },
      ),
    );
  });

  it('keeps the first images when fewer were paid than are there', () => {
    const agreed = agreeWithHold([result(0, true), result(1, false), result(2, true), result(3, true)], 2);
    expect(agreed.map((image) => image.failure)).toEqual([null, 'failed', null, 'failed']);
  });
});

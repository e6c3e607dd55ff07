import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { agreeWithHold } from '../../src/gateway/images/calls/recovery/agree-with-hold.js';
import { imageResult } from '../support/images/image-results.js';
import { checkProperty } from '../support/property.js';

describe('a receipt written by recovery', () => {
  it('shows exactly as many delivered images as the hold says were paid, and keeps every position', async () => {
    await checkProperty(
      'a receipt agrees with its hold',
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }),
        fc.nat({ max: 10 }),
        (kept, paid) => {
          const imagesPaid = Math.min(paid, kept.length);
          const agreed = agreeWithHold(
            kept.map((isDelivered, position) => imageResult(position, isDelivered)),
            imagesPaid,
          );
          expect(agreed.filter((image) => image.failure === null)).toHaveLength(imagesPaid);
          expect(agreed.map((image) => image.position)).toEqual(kept.map((_, position) => position));
          for (const image of agreed) expect(image.failure === null).toBe(image.bytes !== null);
        },
      ),
      { runs: 100 },
    );
  });
});

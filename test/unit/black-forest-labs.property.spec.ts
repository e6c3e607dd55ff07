import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { creditsToMicros } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { checkProperty } from '../support/property.js';

describe('credits of Black Forest Labs', () => {
  it('is exact for every amount of up to four decimals', async () => {
    await checkProperty(
      'credits are booked exactly',
      fc.property(fc.nat({ max: 1_000_000_000 }), (tenThousandths) => {
        expect(creditsToMicros(tenThousandths / 10_000)).toBe(BigInt(tenThousandths));
      }),
      { runs: 100 },
    );
  });
});

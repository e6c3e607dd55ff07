import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { probeService } from '../support/process/probed-service.js';

const cleanUp = new CleanUp();
jest.setTimeout(CHAOS_TIMEOUT_MS);
afterAll(() => cleanUp.run());

describe('the heap of the service, however much garbage a flood of requests makes', () => {
  it('is at most three times as large as what is in use, without any option of Node', async () => {
    const { usedBytes, highestBytes } = await probeService<{ usedBytes: number; highestBytes: number }>(
      'churn-heap.mjs',
      cleanUp,
    );
    // It is collected at twice; what is made in the meantime comes on top. V8 by itself lets this one grow to almost five times.
    expect(highestBytes / usedBytes).toBeLessThan(3);
  });
});

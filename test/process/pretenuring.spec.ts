import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { probeService } from '../support/process/probed-service.js';

const cleanUp = new CleanUp();
jest.setTimeout(CHAOS_TIMEOUT_MS);
afterAll(() => cleanUp.run());

describe('what the service makes for one call', () => {
  it('is young, however long objects of the same code lived before, without any option of Node', async () => {
    const made = await probeService('make-objects.mjs', cleanUp);
    expect(made).toMatchObject({ objects: 4_000, bornOld: 0 });
  });
});

import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { capturedMicros, MODEL, PRICE_MICROS, SMALL } from '../fixtures/images.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { RETRY_PAUSE_MS } from '../../src/money/wallets/rules/spending.js';
import type { TestApp } from '../support/app/test-app.js';
import { holdUpMaking, holdUpMoney } from '../support/images/hold-up.js';

let app: TestApp;
let twin: TestApp;
beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
});
afterEach(() => {
  for (const { clock } of [app, twin]) clock.reset();
});

describe('an attempt that is held up, and its retry in another process', () => {
  it.each([1_500, -1_500])(
    'are charged once, although the first process’s clock is %d ms ahead',
    async (wrongByMs) => {
      const customer = await app.createCustomer({ grantMicros: 1_000_000n });
      const send = (at: TestApp, attempt: number) =>
        fetch(`${at.url}/v1/images/generations`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${customer.apiKey}`,
            'content-type': 'application/json',
            'x-stainless-retry-count': `${attempt}`,
          },
          body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: SMALL }),
        });
      app.clock.wrongByMs = wrongByMs;
      app.clock.estimateWrongByMs = wrongByMs;
      const stalled = holdUpMoney(app);
      const working = holdUpMaking(twin);
      const first = send(app, 0);
      await stalled.reached;
      twin.clock.letPass(RETRY_PAUSE_MS);
      const retry = send(twin, 1);
      await working.reached;
      stalled.letGo();
      expect((await first).status).toBe(409);
      working.letGo();
      expect((await retry).status).toBe(200);
      expect(await capturedMicros(app, customer.accountId)).toBe(PRICE_MICROS);
    },
  );
});

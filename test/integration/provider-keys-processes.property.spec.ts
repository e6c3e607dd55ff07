import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { attach, makeProviderKey, PROVIDER } from '../support/images/provider-keys.js';
import type { TestApp } from '../support/app/test-app.js';
import { checkProperty } from '../support/property.js';

let app: SharedApp;
let twin: TestApp;
beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
  // What a process knows of the keys never grows old by itself.
  for (const { clock } of [app, twin]) clock.stop();
});
afterAll(async () => {
  for (const { clock } of [app, twin]) clock.reset();
  await expectBooksToBalance(app.dataSource);
});

type Step = {
  readonly do: 'attach' | 'remove' | 'call' | 'call twice';
  readonly by: 0 | 1;
};
const aStep: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom('attach', 'remove', 'call', 'call', 'call twice'),
  by: fc.constantFrom(0, 1),
});

describe('who pays for a call', () => {
  it('follows every change of the provider keys that was acknowledged before it began, in whichever process', async () => {
    await checkProperty(
      'calls follow the provider keys',
      fc.asyncProperty(fc.array(aStep, { minLength: 3, maxLength: 12 }), async (steps) => {
        const { apiKey, client } = await aCustomer().withCredit('10.00').create();
        const clients = [client, twin.client(apiKey)] as const;
        let hasKey = false;
        let paid = 0n;
        for (const { do: what, by } of steps) {
          const here = { client: clients[by] };
          if (what === 'attach') {
            await attach(here, makeProviderKey(app));
            hasKey = true;
          } else if (what === 'remove') {
            const answer = await here.client.delete(`/v1/provider_keys/${PROVIDER}`);
            expect(answer.status).toBe(hasKey ? 200 : 404);
            hasKey = false;
          } else {
            const calls = what === 'call' ? [here] : [here, { client: clients[by === 0 ? 1 : 0] }];
            const answers = await Promise.all(calls.map((caller) => generate(caller)));
            for (const answer of answers) {
              expect(answer.expect(200).headers.get('x-billing-mode')).toBe(hasKey ? 'byok' : 'wallet');
              if (!hasKey) paid += 40_000n;
            }
          }
        }
        expect((await balancesOf({ client })).posted).toBe(10_000_000n - paid);
      }),
      { runs: 24 },
    );
  });
});

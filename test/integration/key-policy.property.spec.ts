import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectBooksToBalance } from '../fixtures/books.js';
import { PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { checkProperty } from '../support/property.js';
import { aStep, inMicros, KeyWalk, someHours, UNLIMITED, type Step } from '../support/wallet/key-walk.js';

let app: SharedApp;
beforeAll(async () => {
  app = await sharedApp();
});
afterEach(() => app.clock.reset());
afterAll(async () => {
  await expectBooksToBalance(app.dataSource);
});

const HOUR_MS = 3_600_000;
/** So many accounts are walked at a time: each waits for the answer to its last request, and nearly all of a walk is waiting. */
const WALKS = 10;

/** A request for each of them, and what passes before the next ones. */
const aRound = fc.record({
  steps: fc.array(aStep, { minLength: WALKS, maxLength: WALKS }),
  hours: someHours,
});

async function startWalk(): Promise<KeyWalk> {
  const customer = await app.createCustomer({ grantMicros: 1_000n * PRICE_MICROS });
  const walk = new KeyWalk(app, customer.accountId);
  await walk.makeRoot(UNLIMITED);
  await walk.makeRoot({ day: null, total: 2 });
  await walk.makeRoot({ day: 1, total: null });
  return walk;
}

describe('any chain of requests to make, limit, revoke and use keys', () => {
  it('never lets a key, or all that descend from it, do or spend more than it was allowed', async () => {
    await checkProperty(
      'key policy',
      fc.asyncProperty(fc.array(aRound, { minLength: 20, maxLength: 50 }), async (rounds) => {
        app = await sharedApp();
        // What was spent on which day is then known to the millisecond.
        app.clock.stop();
        const walks = await Promise.all(Array.from({ length: WALKS }, startWalk));
        for (const { steps, hours } of rounds) {
          await Promise.all(walks.map((walk, number) => walk.take(steps[number] as Step)));
          app.clock.letPass(hours * HOUR_MS);
        }
        for (const walk of walks) await walk.expectSpentAsSeen();
      }),
      { runs: 10 },
    );
  });
});

describe('a spend limit that is set while its key makes others', () => {
  it('leaves no key that spends without the limit, in any process', async () => {
    const twin = await sharedTwin();
    const outcomes = new Set<string>();
    for (let round = 0; round < 12; round += 1) {
      const customer = await app.createCustomer();
      const path = `/v1/accounts/${customer.accountId}/api_keys`;
      const { id, secret } = (
        await app.operator.post(path, { name: 'maker', scopes: ['generate', 'keys:write'] })
      ).expect(201).body;
      const limit = { body: { spend_limits: { total_micros: inMicros(1) } } };
      const [limited, ...made] = await Promise.all([
        app.operator.send('PATCH', `${path}/${id}`, limit),
        ...[app, twin, twin].map((service) =>
          service.client(secret).post('/v1/api_keys', { name: 'child', scopes: ['keys:write'] }),
        ),
      ]);
      const children = made.filter(({ status }) => status === 201).length;
      outcomes.add(`${limited.status} ${children > 0 ? 'some' : 'none'}`);
      if (limited.status === 409) {
        expect(limited.body.error).toMatchObject({ code: 'key_has_descendants' });
        // Not every one of them need have been there when the limit was refused.
        const isNamed = ({ status, body }: TestAnswer): boolean =>
          status === 201 && String(limited.body.error.message).includes(String(body.id));
        expect(made.some(isNamed)).toBe(true);
      } else {
        limited.expect(200);
        expect(made.map(({ status, body }) => [status, body.error?.code])).toEqual(
          made.map(() => [403, 'key_is_limited']),
        );
      }
    }
    expect([...outcomes].filter((outcome) => !['409 some', '200 none'].includes(outcome))).toEqual([]);
  });
});

import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { BFL_ACTIVE_TASKS_DEFAULT } from '../../src/platform/config/settings.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { balancesOf, expectReceiptsToAgree, generate } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { attach, makeProviderKey } from '../support/images/provider-keys.js';
import { eventually } from '../support/processes.js';

const SLOTS = BFL_ACTIVE_TASKS_DEFAULT;
const IMAGES = 5;
/** Calls for five that run, and that wait: as many images as one account may have there, and the rest of the last call. */
const CALLS_TAKEN = Math.ceil((SLOTS + 2 * SLOTS) / IMAGES);
const SLOW_MS = 100;
const SLOW = { n: IMAGES, prompt: `a fox [sandbox:slow=${SLOW_MS}]` };

let service: TestApp;
let flooding: TestCustomer;
let other: TestCustomer;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true, settings: { rateLimit: false } });
});
beforeEach(async () => {
  flooding = await service.createCustomer({ grantMicros: 10_000_000n });
  other = await service.createCustomer({ grantMicros: 1_000_000n });
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;

/** As many calls of one account as are taken; none of their images is ready before time passes at the provider. */
async function flood(customer = flooding): Promise<Promise<TestAnswer>[]> {
  service.upstreamClock.stop();
  const before = submits();
  const calls = Array.from({ length: CALLS_TAKEN }, () => generate(customer, SLOW));
  await eventually('the flood uses every slot', () => Promise.resolve(submits() - before === SLOTS));
  await eventually('all of its calls wait for the provider', async () => {
    const { held } = await balancesOf(customer);
    return held === BigInt(CALLS_TAKEN * IMAGES) * 40_000n;
  });
  return calls;
}

describe('one account that asks for more images than the provider makes at once', () => {
  it('uses every slot while it is alone, and another account’s call is the next that is made', async () => {
    const calls = await flood();
    let answered = 0;
    for (const call of calls) void call.then(() => (answered += 1));
    const before = submits();
    const image = generate(other);
    await eventually('the other call has its hold', async () => (await balancesOf(other)).held > 0n);
    service.upstreamClock.letPass(SLOW_MS);
    (await image).expect(200);
    // What ran when the other call came may be answered. Nothing of what waited is: its images are not ready.
    expect(answered).toBeLessThanOrEqual(Math.floor(SLOTS / IMAGES));
    expect(submits() - before).toBeGreaterThan(0);
    service.upstreamClock.reset();
    for (const call of calls) expect((await call).expect(200).body.data).toHaveLength(IMAGES);
    await expectReceiptsToAgree(service, flooding.accountId);
    await expectReceiptsToAgree(service, other.accountId);
  });

  it('is refused the whole call, for nothing, when it has as many waiting as it may, and no other account is', async () => {
    const calls = await flood();
    const before = await balancesOf(flooding);
    const refused = await generate(flooding, SLOW);
    const { error } = refused.expect(429).body;
    expect(error).toMatchObject({ code: 'concurrency_limit_exceeded', charged_micros: '0' });
    expect(error.message).toMatch(/Your account has as many images waiting .*Nothing was charged/);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await balancesOf(flooding)).toEqual(before);
    const image = generate(other);
    await eventually('the other call has its hold', async () => (await balancesOf(other)).held > 0n);
    service.upstreamClock.reset();
    (await image).expect(200);
    for (const call of calls) (await call).expect(200);
  });

  it('leaves the slots of a customer’s own key to that customer', async () => {
    const calls = await flood();
    await attach(other, makeProviderKey(service));
    (await generate(other)).expect(200);
    service.upstreamClock.reset();
    for (const call of calls) (await call).expect(200);
    expect(await balancesOf(other)).toMatchObject({ posted: 1_000_000n });
  });
});

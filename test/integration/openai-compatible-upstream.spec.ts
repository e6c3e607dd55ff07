import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { balancesOf, PRICE_MICROS } from '../fixtures/images.js';
import { startProviderStage, type ProviderStage } from '../support/images/provider-stage.js';

const COMPATIBLE = 'openai_compatible';
const GATEWAY_KEY = 'gk_key_of_the_gateway_between_9a8b7c';

let stage: ProviderStage;
/** The same, and no host of results is named. */
let strict: ProviderStage;
beforeAll(async () => {
  stage = await startProviderStage([[COMPATIBLE]], ({ foreignBase }) => ({
    headers: { 'x-gateway-provider': 'openai', 'x-gateway-key': GATEWAY_KEY },
    resultHosts: [new URL(foreignBase)],
  }));
  strict = await startProviderStage([[COMPATIBLE]]);
});
afterEach(() => {
  for (const { upstream } of [stage, strict]) upstream.reset();
});
afterAll(async () => {
  try {
    for (const { service } of [stage, strict]) await expectBooksToBalance(service.dataSource);
  } finally {
    await Promise.all([stage.close(), strict.close()]);
  }
});

describe('an OpenAI-compatible upstream', () => {
  it('is sent the headers that the settings name, in addition to the key', async () => {
    const customer = await stage.service.createCustomer({ grantMicros: 1_000_000n });
    (await stage.call(customer, [COMPATIBLE])).expect(200);
    expect(stage.upstream.seen[0]?.headers).toMatchObject({
      'x-gateway-provider': 'openai',
      'x-gateway-key': GATEWAY_KEY,
      authorization: expect.stringMatching(/^Bearer /),
    });
  });

  it('that repeats such a header in its complaint has it removed from the answer and the log', async () => {
    const customer = await stage.service.createCustomer({ grantMicros: 1_000_000n });
    const body = { error: { message: `wrong ${GATEWAY_KEY} for openai`, param: 'prompt' } };
    stage.upstream.play(COMPATIBLE, { does: 'answer', status: 400, body });
    const { body: shown } = (await stage.call(customer, [COMPATIBLE])).expect(400);
    expect(JSON.stringify(shown)).toContain('wrong [key] for openai');
    expect(stage.logged()).not.toContain(GATEWAY_KEY);
  });

  it('may deliver by a URL on a host that the settings name, which gets none of our keys', async () => {
    const customer = await stage.service.createCustomer({ grantMicros: 1_000_000n });
    stage.upstream.play(COMPATIBLE, { does: 'foreign_result' });
    (await stage.call(customer, [COMPATIBLE])).expect(200);
    expect(await balancesOf(customer)).toMatchObject({ posted: 1_000_000n - PRICE_MICROS, held: 0n });
    expect(stage.upstream.strayed).toHaveLength(1);
    const { authorization, ...others } = stage.upstream.strayed[0]?.headers ?? {};
    expect({ authorization, others: JSON.stringify(others).includes('gateway') }).toEqual({
      authorization: undefined,
      others: false,
    });
  });

  it('may deliver by no other URL, and nothing is charged', async () => {
    const customer = await strict.service.createCustomer({ grantMicros: 1_000_000n });
    strict.upstream.play(COMPATIBLE, { does: 'foreign_result' });
    (await strict.call(customer, [COMPATIBLE])).expect(500);
    expect(await balancesOf(customer)).toMatchObject({ available: 1_000_000n });
    expect(strict.upstream.strayed).toEqual([]);
  });
});

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { balancesOf, expectReceiptsToAgree, generate, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const CREDIT_MICROS = 1_000_000n;
const COUNTS = [1, 3, 10] as const;

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
});
afterAll(() => service.close());

type Expected = { readonly status: number; readonly code: string; readonly shouldRetry?: string };

const MODERATED: Expected = { status: 400, code: 'content_policy_violation', shouldRetry: 'false' };
const FAILED: Expected = { status: 500, code: 'upstream_failed' };
const UNAVAILABLE: Expected = { status: 503, code: 'upstream_unavailable' };

/** What the provider does, as the prompt asks the sandbox to, and what the customer is answered. */
const OUTCOMES: readonly (readonly [directive: string, expected: Expected])[] = [
  ['moderated', MODERATED],
  ['content_moderated', MODERATED],
  ['error', FAILED],
  ['not_found', FAILED],
  ['not_image', FAILED],
  ['truncated', FAILED],
  ['wrong_size', FAILED],
  ['result_404', FAILED],
  ['download=403', FAILED],
  ['download=503', FAILED],
  ['download=reset', FAILED],
  ['submit=400', { status: 400, code: 'invalid_request' }],
  ['submit=422', { status: 400, code: 'invalid_request' }],
  ['submit=401', UNAVAILABLE],
  ['submit=402', UNAVAILABLE],
  ['submit=403', UNAVAILABLE],
  ['submit=404', UNAVAILABLE],
  ['submit=429', { status: 429, code: 'concurrency_limit_exceeded' }],
  ['submit=500', UNAVAILABLE],
  ['submit=503', UNAVAILABLE],
  ['submit=reset', UNAVAILABLE],
  ['submit=lost', UNAVAILABLE],
];

type Played = { readonly customer: TestCustomer; readonly answer: TestAnswer };

async function play(prompt: string, n: number): Promise<Played> {
  const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
  return { customer, answer: await generate(customer, { prompt, n }) };
}

describe('a call that delivers nothing', () => {
  const cases = OUTCOMES.flatMap(([directive, expected]) => COUNTS.map((n) => ({ directive, n, expected })));
  const played = new Map<object, Promise<Played>>();
  beforeAll(() => {
    // They wait concurrently; those that keep a task slot for seconds come after the others.
    const isSlow = ({ directive }: { directive: string }) =>
      directive === 'not_found' || directive === 'submit=429';
    const start = (one: (typeof cases)[number]) => play(`a fox [sandbox:${one.directive}]`, one.n);
    for (const one of cases.filter((candidate) => !isSlow(candidate))) played.set(one, start(one));
    const before = Promise.all(played.values());
    for (const one of cases.filter(isSlow))
      played.set(
        one,
        before.then(() => start(one)),
      );
  });

  it.each(cases)('costs nothing and leaves no hold: $directive, n = $n', async (one) => {
    const { answer, customer } = (await played.get(one)) as Played;
    const { status, code, shouldRetry } = one.expected;
    expect({ status: answer.status, code: answer.body.error?.code }).toEqual({ status, code });
    expect(answer.headers.get('x-should-retry')).toBe(shouldRetry ?? null);
    expect(answer.headers.get('x-charged-micros')).toBe('0');
    expect(answer.body.error.charged_micros).toBe('0');
    const retryAfter = answer.headers.get('retry-after');
    if (status === 429 || status === 503) expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    if (retryAfter !== null) expect(Number(retryAfter)).toBeLessThanOrEqual(60);
    expect(await balancesOf(customer)).toEqual({ available: CREDIT_MICROS, held: 0n, posted: CREDIT_MICROS });
    await expectReceiptsToAgree(service, customer.accountId);
    const id: string = answer.body.error.generation_id;
    expect(answer.headers.get('x-generation-id')).toBe(id);
    const receipt = (await customer.client.get(`/v1/generations/${id}`)).expect(200).body;
    expect(receipt).toMatchObject({ status: 'failed', error_code: code, images_delivered: 0, images: [] });
  });

  it("never shows the customer the refusal of our own upstream account as the customer's own", async () => {
    for (const one of cases.filter(({ directive }) => /submit=40[123]/.test(directive))) {
      const { answer } = (await played.get(one)) as Played;
      expect(JSON.stringify(answer.body)).not.toMatch(/bfl|x-key|api key|credit/i);
    }
  });
});

describe('a call of which the provider fails at some images', () => {
  const FAULTS = [
    'error',
    'content_moderated',
    'truncated',
    'result_404',
    'submit=500',
    'not_image',
  ] as const;
  const cases = FAULTS.flatMap((fault) => [
    { fault, n: 3, every: 3, delivered: 2 },
    { fault, n: 3, every: 2, delivered: 2 },
    { fault, n: 10, every: 3, delivered: 7 },
    { fault, n: 10, every: 2, delivered: 5 },
  ]);

  it.each(cases)(
    'delivers and charges the $delivered others of $n: $fault',
    async ({ fault, n, every, delivered }) => {
      const { customer, answer } = await play(`n${n}e${every} [sandbox:${fault}, every=${every}]`, n);
      answer.expect(200);
      const charged = PRICE_MICROS * BigInt(delivered);
      expect(answer.body.data).toHaveLength(delivered);
      for (const { url } of answer.body.data) expect((await fetch(url)).status).toBe(200);
      expect(answer.headers.get('x-charged-micros')).toBe(String(charged));
      expect(await balancesOf(customer)).toMatchObject({ available: CREDIT_MICROS - charged, held: 0n });
      await expectReceiptsToAgree(service, customer.accountId);
    },
  );
});

describe('trouble that passes', () => {
  it.each(['poll=500', 'poll=429', 'poll=403', 'poll=reset', 'slow=1200'])(
    'does not fail a call: %s',
    async (directive) => {
      const { customer, answer } = await play(`a fox [sandbox:${directive}]`, 2);
      expect(answer.expect(200).body.data).toHaveLength(2);
      await expectReceiptsToAgree(service, customer.accountId);
    },
  );
});

describe('after all of this', () => {
  it('the books balance', async () => {
    await expectBooksToBalance(service.dataSource);
  });
});

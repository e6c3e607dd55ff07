import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, MODEL, SMALL } from '../fixtures/images.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import { eventually } from '../support/processes.js';

let service: TestApp;
beforeAll(async () => {
  service = await sharedApp();
});
afterEach(letProviderFinish);
afterAll(() => expectBooksToBalance(service.dataSource));

function keepProviderBusy(): void {
  service.upstreamClock.stop();
  service.blackForestLabs?.control.setLatencyMs(1);
}

function letProviderFinish(): void {
  service.blackForestLabs?.control.setLatencyMs(0);
  service.upstreamClock.reset();
  service.clock.reset();
}

/** The same call, as an SDK sends it for the first time (0) or again. */
function send({ apiKey }: TestCustomer, retryCount: number, signal: AbortSignal | null = null) {
  return fetch(`${service.url}/v1/images/generations`, {
    method: 'POST',
    signal,
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'application/json',
      'x-stainless-retry-count': String(retryCount),
    },
    body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: SMALL }),
  });
}

async function isState({ accountId }: TestCustomer, state: string): Promise<boolean> {
  const rows = await service.dataSource.query<unknown[]>(
    'SELECT FROM generations WHERE account_id = $1 AND retry_state = $2',
    [accountId, state],
  );
  return rows.length > 0;
}

/** A first attempt at the call, whose client has hung up while the provider works on it. */
async function anAttemptCutOff(customer: TestCustomer): Promise<void> {
  keepProviderBusy();
  const client = new AbortController();
  const attempt = send(customer, 0, client.signal).catch(() => null);
  await eventually('it is written down', () => isState(customer, 'open'));
  client.abort();
  await attempt;
}

describe('copies of a call that an SDK sends again', () => {
  it('wait for it in a small number: further ones are refused at once, may be sent again, and cost nothing', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    await anAttemptCutOff(customer);
    // What the first copy has claimed stays its own, and the others wait for it.
    service.clock.stop();
    const clients = new AbortController();
    const statuses: number[] = [];
    const copies = Array.from({ length: 30 }, () =>
      send(customer, 2, clients.signal).then(
        async (answer) => {
          statuses.push(answer.status);
          expect(((await answer.json()) as { error: object }).error).toMatchObject({
            code: 'idempotency_in_progress',
            charged_micros: '0',
          });
          expect(answer.headers.get('retry-after')).toBe('1');
        },
        () => 'gone',
      ),
    );
    // One for the attempt that is under way, and three more.
    await eventually('all others are answered', () => statuses.length === 26);
    expect(new Set(statuses)).toEqual(new Set([409]));
    clients.abort();
    expect((await Promise.all(copies)).filter((each) => each === 'gone')).toHaveLength(4);
    letProviderFinish();
    await eventually('it is charged once', async () => (await balancesOf(customer)).posted === 960_000n);
  });

  it('are within the limit of calls at the same time, but for a few that fetch what was made', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const limits = { concurrent_requests: 1, reason: 'a test' };
    const path = `/v1/accounts/${customer.accountId}/limits`;
    (await service.operator.send('PUT', path, { body: limits })).expect(200);
    await anAttemptCutOff(customer);
    const retry = send(customer, 1);
    await eventually('the retry has its attempt', () => isState(customer, 'claimed'));
    // It keeps the slot until it has ended, and there is nothing of another call that a retry could fetch.
    const other = await customer.client.post(
      '/v1/images/generations',
      { model: MODEL, prompt: 'another fox', size: SMALL },
      { 'x-stainless-retry-count': '1' },
    );
    expect(other.expect(429).body.error).toMatchObject({
      code: 'concurrency_limit_exceeded',
      charged_micros: '0',
    });
    letProviderFinish();
    const answer = await retry;
    expect([answer.status, answer.headers.get('idempotent-replayed')]).toEqual([200, 'true']);
    await answer.json();
    expect((await balancesOf(customer)).posted).toBe(960_000n);
  });
});

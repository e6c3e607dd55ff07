import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { generationLimits } from '../../src/gateway/images/calls/generation-limits.js';
import { OrphanedHoldsService } from '../../src/gateway/images/calls/recovery/orphaned-holds.service.js';
import { UNWRITTEN_MS } from '../../src/gateway/images/calls/retries/retry-step.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  capturedMicros,
  expectReceiptsToAgree,
  generate,
  PRICE_MICROS,
  setLimits,
} from '../fixtures/images.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { holdUpMaking } from '../support/images/hold-up.js';
import { eventually } from '../support/processes.js';

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  setLimits(service, { rowAfterMs: 5 });
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

it('a call keeps its credit and its images however long its provider works without naming a task', async () => {
  const customer = await service.createCustomer({ grantMicros: PRICE_MICROS });
  const working = holdUpMaking(service);
  const call = generate(customer);
  await working.reached;
  try {
    await eventually('the call is written down', async () => {
      const sql = 'SELECT FROM generations WHERE account_id = $1';
      return (await service.dataSource.query<unknown[]>(sql, [customer.accountId])).length === 1;
    });
    service.clock.letPass(generationLimits.orphanedAfterMs + 1);
    expect(await service.app.get(OrphanedHoldsService).release()).toBe(0);
  } finally {
    service.clock.reset();
    working.letGo();
  }
  (await call).expect(200);
  await expectReceiptsToAgree(service, customer.accountId);
  expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
});

it('a call is written down before anybody takes it for dead', () => {
  const { rowAfterMs, orphanedAfterMs } = generationLimits;
  expect(2 * rowAfterMs).toBeLessThan(UNWRITTEN_MS);
  expect(2 * rowAfterMs).toBeLessThan(orphanedAfterMs);
});

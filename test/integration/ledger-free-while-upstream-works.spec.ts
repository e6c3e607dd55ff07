import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

let service: TestApp;
let owner: pg.Client;

beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  owner = new pg.Client({ connectionString: service.databaseUrl });
  await owner.connect();
});
afterAll(async () => {
  await owner.end();
  await service.close();
});

describe('while the provider works', () => {
  it('promise 7: no tx is open, and the wallet is not locked, and others charge it', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    // The provider never answers while its clock is stopped, so a tx that waited for it would stay open.
    service.upstreamClock.stop();
    let answered = false;
    const call = generate(customer, { n: 1, prompt: 'a fox [sandbox:slow=100]' }).finally(
      () => (answered = true),
    );
    await eventually('the provider works', () => service.blackForestLabs?.control.counts().tasks === 1);
    for (let look = 0; look < 4; look += 1) {
      await eventually('no tx is open', async () => (await openTxs()) === 0);
      await owner.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE NOWAIT', [customer.accountId]);
      const debit = { account: customer.accountId, reference: `concurrent-${look}`, amount_micros: '1' };
      (await service.operator.post('/v1/debits', debit)).expect(201);
    }
    expect(answered).toBe(false);
    service.upstreamClock.reset();
    (await call).expect(200);
    await expectBooksToBalance(service.dataSource);
  });
});

/** Of the service, in the middle of one statement or between two. */
async function openTxs(): Promise<number> {
  const { rows } = await owner.query<{ open: number }>(
    `SELECT count(*)::integer AS open FROM pg_stat_activity
      WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'`,
  );
  return rows[0]?.open ?? 0;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { generate } from '../support/generation.js';
import { expectBooksToBalance } from '../support/invariants.js';
import { startTestApp, type TestApp } from '../support/test-app.js';

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
  it('promise 7: no tx is open, and the wallet is locked by nobody and charged by others', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    let answered = false;
    const call = generate(customer, { n: 1, prompt: 'a fox [sandbox:slow=2500]' }).finally(
      () => (answered = true),
    );
    await waitForHold(customer.accountId);
    // Long after the hold was committed, long before the provider answers.
    await sleep(300);
    for (let look = 0; look < 4; look += 1) {
      const { rows } = await owner.query(
        `SELECT state, query FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
            AND xact_start < clock_timestamp() - interval '250 milliseconds'`,
      );
      expect(rows).toEqual([]);
      await owner.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE NOWAIT', [customer.accountId]);
      const debit = { account: customer.accountId, reference: `beside-${look}`, amount_micros: '1' };
      (await service.operator.post('/v1/debits', debit)).expect(201);
    }
    expect(answered).toBe(false);
    (await call).expect(200);
    await expectBooksToBalance(service.dataSource);
  });
});

async function waitForHold(accountId: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const sql = `SELECT FROM holds WHERE account_id = $1 AND status = 'authorized'`;
    if ((await owner.query(sql, [accountId])).rowCount === 1) return;
    await sleep(10);
  }
  throw new Error('the call never held anything');
}

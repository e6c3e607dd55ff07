import { afterAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { eventually } from '../support/processes.js';

afterAll(async () => expectBooksToBalance((await sharedApp()).dataSource));

describe('GET /health/ready', () => {
  it('is red while money commands wait although the database answers, and green when they are decided', async () => {
    const service = await sharedApp();
    const customer = await aCustomer().withCredit('1.00').create();
    const readiness = () => service.client(null).get('/health/ready');
    // As a migration that takes its time.
    const migration = new pg.Client({ connectionString: service.databaseUrl });
    await migration.connect();
    try {
      await migration.query('BEGIN; LOCK TABLE credit_lots IN ACCESS EXCLUSIVE MODE');
      const body = { account: customer.accountId, reference: 'waits', amount_micros: '40000' };
      const waiting = service.operator.post('/v1/debits', body);
      await eventually('readiness is red', async () => (await readiness()).status === 503);
      expect((await readiness()).body.parts).toEqual({
        process: 'ok',
        database: 'ok',
        engine: 'unavailable',
        clock: 'ok',
      });
      await migration.query('ROLLBACK');
      (await waiting).expect(201);
      (await readiness()).expect(200);
    } finally {
      await migration.end();
    }
  });
});

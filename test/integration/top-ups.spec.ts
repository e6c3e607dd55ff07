import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/test-app.js';

let app: TestApp;
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
});
afterAll(() => app.close());

describe('smoke', () => {
  it('pays', async () => {
    const customer = await app.createCustomer();
    const answer = await customer.client.post('/v1/top_ups', { credit_cents: 1000 });
    console.log(answer.status, answer.body);
    const page = String(answer.body.checkout_url).split('/').at(-1) ?? '';
    const t0 = performance.now();
    await app.stripe?.control.pay(page);
    await eventually('paid', async () => (await customer.client.get(`/v1/top_ups/${answer.body.id}`)).body.status === 'paid');
    console.log(performance.now() - t0);
    console.log((await customer.client.get('/v1/wallet')).body, await app.dataSource.query('select id,type,outcome,attempts,object_id from stripe_events'), await app.dataSource.query('select kind, debit_account, credit_account, amount_micros, reference, memo, lot_id from transfers'));
    expect(1).toBe(1);
  });
});

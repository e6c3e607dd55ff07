import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from '../../src/sandbox/stripe/control.js';
import { expectBooksToBalance } from '../support/invariants.js';
import { RETURN_HISTORIES } from '../support/return-histories.js';
import { beginHistory } from '../support/return-history.js';
import { startTestApp, type TestApp } from '../support/test-app.js';
import { settled, startTopUp } from '../support/top-up-books.js';

describe('what goes back', () => {
  let app: TestApp;
  let control: SandboxStripeControl;

  beforeAll(async () => {
    app = await startTestApp({ stripe: true });
    if (app.stripe === null) throw new Error('this test needs the sandbox');
    control = app.stripe.control;
  });

  afterEach(async () => {
    control.clearFaults();
    await settled(app);
    await expectBooksToBalance(app.dataSource);
  });

  afterAll(() => app.close());

  it.each(RETURN_HISTORIES)('leaves exactly its transfers: %s', async (_name, steps, left) => {
    const history = await beginHistory(app, control);
    for (const step of steps) await history.take(step);
    expect(await history.left()).toEqual({ debt: 0, status: 'active', ...left });
  });

  it('is found for a payment that is disputed before its own event has come', async () => {
    const topUp = await startTopUp(app);
    // Stripe's test card that is disputed at once: the dispute's events come first.
    await control.pay(topUp.sessionId, '4000000000000259');
    await settled(app);
    const { body } = (await topUp.customer.client.get('/v1/wallet')).expect(200);
    expect(body).toMatchObject({ status: 'frozen', posted_micros: '0', debt_micros: '0' });
  });

  it.each(RETURN_HISTORIES)(
    'leaves the same when every event comes three times and out of order: %s',
    async (_name, steps, left) => {
      const history = await beginHistory(app, control);
      control.setWebhookFaults({ copies: 3, reorder: true });
      for (const step of steps) await history.take(step);
      expect(await history.left()).toEqual({ debt: 0, status: 'active', ...left });
    },
  );
});

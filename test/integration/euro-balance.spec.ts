import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from '../../src/sandbox/stripe/control.js';
import { settled } from '../fixtures/top-up-books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: TestApp;
let control: SandboxStripeControl;

// Its own, because it leaves money that the doctor names.
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});
afterEach(() => control.clearFaults());
afterAll(() => app.close());

/** A dispute that took €9.80 out of a balance in euros: nobody knows what that is in US dollars. */
async function disputedInEuros(): Promise<ReturnHistory> {
  const history = await beginHistory(app, control);
  control.setWebhookFaults({ loseEvents: true });
  await history.begin(['dispute', 'needs_response', 1_050]);
  control.clearFaults();
  const event = control.events('charge.dispute.funds_withdrawn')[0];
  const dispute = event?.data.object as unknown as { id: string; balance_transactions: { id: string }[] };
  const [moved] = dispute.balance_transactions;
  const told = { currency: 'eur', amount: -980, fee: 0, net: -980 };
  await control.overrideMoney('disputes', dispute.id, {
    currency: 'eur',
    amount: 980,
    balance_transactions: [{ ...moved, ...told }],
  });
  await control.overrideMoney('balanceTransactions', moved?.id ?? '', told);
  await control.sendEvent(event?.id ?? '');
  await settled(app);
  return history;
}

describe('a dispute that takes money out of a balance in another currency', () => {
  it('freezes the wallet once: what an operator lifted stays lifted, whatever else is told of it', async () => {
    const history = await disputedInEuros();
    expect(await history.left()).toMatchObject({ status: 'frozen', available: 1_000 });
    await history.take(['unfreeze']);
    await history.take(['becomes', 'under_review']);
    expect(await history.left()).toMatchObject({ status: 'active', available: 1_000 });
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/doctor/examine-books.js';
import { StripeBalanceJob } from '../../src/finance/platform-book/stripe-balance.job.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';
import type { SandboxStripeControl } from '../../src/sandbox/stripe/control.js';

let app: TestApp;
let control: SandboxStripeControl;

// Its own, because it leaves money that the doctor names.
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});

afterAll(() => app.close());
afterEach(() => control.clearFaults());

async function named(): Promise<readonly string[]> {
  await app.app.get(StripeBalanceJob).run();
  const found = await findDiscrepancies(app.dataSource);
  return found.map(({ table, key, found: what }) => `${table} ${key}: ${what}`);
}

const EUROS = { currency: 'eur', amount: 980 };

/** The events of the step arrive only once Stripe says that it is in euros. */
async function inEuros(history: ReturnHistory, kind: 'dispute' | 'refund', changes = {}): Promise<string> {
  control.setWebhookFaults({ loseEvents: true });
  await history.begin(
    kind === 'dispute' ? ['dispute', 'needs_response', 1_050] : ['refund_elsewhere', 1_050],
  );
  control.clearFaults();
  const type = kind === 'dispute' ? 'charge.dispute.funds_withdrawn' : 'refund.created';
  const event = control.events(type)[0];
  const id = String(event?.data.object['id']);
  await control.overrideMoney(kind === 'dispute' ? 'disputes' : 'refunds', id, { ...EUROS, ...changes });
  await control.sendEvent(event?.id ?? '');
  await settled(app);
  return id;
}

describe('money in another currency', () => {
  it('that a dispute takes out of a balance in US dollars is booked as what left it, and comes back in full', async () => {
    const history = await beginHistory(app, control);
    history.disputeId = await inEuros(history, 'dispute');
    expect(await history.left()).toMatchObject({
      legs: { dispute: 1_000, dispute_fee: 50 },
      available: 0,
      status: 'frozen',
    });
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({
      legs: { reinstatement: 1_000, reinstatement_fee: 50 },
      available: 1_000,
    });
    expect(await named()).toEqual([]);
  });

  it('that a refund made in Stripe takes out of a balance in US dollars is booked as what left it', async () => {
    const history = await beginHistory(app, control);
    await inEuros(history, 'refund');
    expect(await history.left()).toMatchObject({ legs: { refund: 1_000, refund_fee: 50 }, available: 0 });
    expect(await named()).toEqual([]);
  });

  it('that leaves a balance in that currency is named by the doctor at once, and the wallet is frozen', async () => {
    const history = await beginHistory(app, control);
    control.setWebhookFaults({ loseEvents: true });
    await history.begin(['dispute', 'needs_response', 1_050]);
    control.clearFaults();
    const event = control.events('charge.dispute.funds_withdrawn')[0];
    const dispute = event?.data.object as unknown as { id: string; balance_transactions: { id: string }[] };
    const [moved] = dispute.balance_transactions;
    const told = { currency: 'eur', amount: -980, fee: 0, net: -980 };
    await control.overrideMoney('disputes', dispute.id, {
      ...EUROS,
      balance_transactions: [{ ...moved, ...told }],
    });
    await control.overrideMoney('balanceTransactions', moved?.id ?? '', told);
    await control.sendEvent(event?.id ?? '');
    await settled(app);
    expect(await history.left()).toMatchObject({ legs: { top_up: 1_000, top_up_fee: 50 }, status: 'frozen' });
    expect(await named()).toEqual([
      expect.stringContaining(
        `stripe_balance_transactions id=${moved?.id}: -980 eur cents moved by ${dispute.id}`,
      ),
    ]);
  });
});

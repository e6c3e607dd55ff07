import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import {
  allLooked,
  chargesOf,
  customerWithCard,
  readAutoTopUp,
  spend,
  switchOn,
} from '../support/payments/auto-top-up.js';

let app: SharedShop;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await sharedShop();
  control = app.control;
});
afterEach(() => control.clearFaults());

describe('a saved card', () => {
  it('is removed when the customer says so: Stripe keeps it no longer, and auto top-up is off', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const id = customer.paymentMethodId;
    const listed = (await customer.client.get('/v1/saved_cards')).expect(200).body;
    expect(listed).toMatchObject({
      object: 'list',
      has_more: false,
      data: [{ id, last4: '4242', saved: true }],
    });
    control.setWebhookFaults({ loseEvents: true });
    const removed = (await customer.client.delete(`/v1/saved_cards/${id}`)).expect(200);
    expect(removed.body).toEqual({ id, object: 'saved_card', deleted: true });
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'off', off_reason: 'card_removed' });
    expect((await customer.client.get('/v1/saved_cards')).body.data).toEqual([]);
    // Again, as a client would whose answer was lost.
    (await customer.client.delete(`/v1/saved_cards/${id}`)).expect(200);
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
  });

  it('of another account is not there', async () => {
    const owner = await customerWithCard(app);
    const other = await customerWithCard(app);
    const answer = await other.client.delete(`/v1/saved_cards/${owner.paymentMethodId}`);
    expect(answer.expect(404).body.error).toMatchObject({ code: 'resource_missing' });
    expect((await owner.client.get('/v1/saved_cards')).body.data).toHaveLength(1);
  });
});

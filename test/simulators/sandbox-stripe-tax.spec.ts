import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { refusalOf, stripeSdkFor, topUpSessionParams } from '../support/payments/sandbox-stripe-client.js';
import { payTaxed, payTopUp, TAXED, taxedItem } from '../support/payments/sandbox-stripe-money.js';

describe('the tax of the simulator', () => {
  let sandbox: SandboxStripe;
  let stripe: Stripe;

  beforeAll(async () => {
    sandbox = await startSandboxStripe();
    stripe = stripeSdkFor(sandbox.baseUrl);
  });

  afterAll(() => sandbox.close());

  async function asked(
    changes: Partial<Stripe.Checkout.SessionCreateParams> = {},
    item = taxedItem,
  ): Promise<Stripe.Checkout.SessionCreateParams> {
    const customer = await stripe.customers.create({ email: 'ada@example.com' });
    const params = topUpSessionParams({ customer: customer.id });
    return { ...params, ...TAXED, line_items: (params.line_items ?? []).map(item), ...changes };
  }

  it('is 8.25% of each line, in addition to its price, once the address is known', async () => {
    const open = await stripe.checkout.sessions.create(await asked());
    expect(open).toMatchObject({
      amount_subtotal: 1_050,
      amount_total: 1_050,
      automatic_tax: { enabled: true, status: 'requires_location_inputs' },
    });
    const page = await (await fetch(String(open.url))).text();
    expect(page).toContain('$0.87');
    expect(page).toContain('Pay $11.37');
    const paid = await payTaxed(sandbox, stripe);
    expect(paid).toMatchObject({
      amount_subtotal: 1_050,
      amount_total: 1_137,
      total_details: { amount_tax: 87 },
      automatic_tax: { enabled: true, provider: 'stripe', status: 'complete' },
      customer_details: { address: { country: 'US' } },
      invoice: { subtotal: 1_050, total: 1_137, amount_paid: 1_137, metadata: { top_up_id: 'tu_1' } },
    });
    const { data } = await stripe.checkout.sessions.listLineItems(paid.id);
    expect(data.map(({ amount_tax: tax, amount_total: total }) => [tax, total])).toEqual([
      [83, 1_083],
      [4, 54],
    ]);
    const intent = await stripe.paymentIntents.retrieve(paid.payment_intent as string);
    expect(intent.amount_received).toBe(1_137);
    expect(await stripe.customers.retrieve(paid.customer as string)).toMatchObject({
      address: { country: 'US' },
    });
  });

  it('stays what it was when the first card is declined', async () => {
    const { id } = await stripe.checkout.sessions.create(await asked());
    expect((await sandbox.control.pay(id, '4000000000000002')).status).toBe('declined');
    expect((await sandbox.control.pay(id)).status).toBe('paid');
    expect(await stripe.checkout.sessions.retrieve(id)).toMatchObject({ amount_total: 1_137 });
  });

  it('is none where it was not asked for', async () => {
    const { session } = await payTopUp(sandbox, stripe);
    expect(session).toMatchObject({
      amount_total: 1_050,
      total_details: { amount_tax: 0 },
      automatic_tax: { enabled: false, status: null },
    });
  });

  it.each<[string, Partial<Stripe.Checkout.SessionCreateParams>, object]>([
    [
      'for a customer without an address, where none is asked for',
      { customer_update: { name: 'auto' } },
      { code: 'customer_tax_location_invalid' },
    ],
    [
      'for prices that do not say whether it is in them',
      { line_items: topUpSessionParams().line_items ?? [] },
      { param: 'line_items[0][price_data][tax_behavior]' },
    ],
    [
      'for an address that is to be another word',
      { customer_update: { address: 'always' } },
      { param: 'customer_update[address]' },
    ],
    [
      'with an unknown member',
      { automatic_tax: { enabled: true, rate: 5 } as never },
      { code: 'parameter_unknown' },
    ],
    [
      'with a collection that does not exist',
      { billing_address_collection: 'never' },
      { param: 'billing_address_collection' },
    ],
  ])('is refused %s', async (_what, changes, refusal) => {
    expect(await refusalOf(stripe.checkout.sessions.create(await asked(changes)))).toMatchObject(refusal);
  });

  it('is refused for an update of a customer that there is not', async () => {
    const params = await asked();
    delete params.customer;
    expect(await refusalOf(stripe.checkout.sessions.create(params))).toMatchObject({
      param: 'customer_update',
    });
  });
});

describe('the invoice of the simulator', () => {
  it('is made of a paid session that asked for it, and of no other', async () => {
    const sandbox = await startSandboxStripe();
    const stripe = stripeSdkFor(sandbox.baseUrl);
    const { session, charge } = await payTopUp(sandbox, stripe);
    const invoice = await stripe.invoices.retrieve(session.invoice as string);
    expect(invoice).toMatchObject({
      status: 'paid',
      total: 1_050,
      lines: { data: [{ amount: 1_000 }, { amount: 50 }] },
    });
    const { session: plain } = await payTopUp(sandbox, stripe, undefined, {
      invoice_creation: { enabled: false },
    });
    expect(plain.invoice).toBeNull();
    for (const url of [invoice.hosted_invoice_url, charge.receipt_url]) {
      const page = await fetch(String(url));
      expect([page.status, (await page.text()).includes('$10.50')]).toEqual([200, true]);
    }
    expect((await fetch(`${sandbox.baseUrl}/c/receipt/in_unknown`)).status).toBe(404);
    await sandbox.close();
  });
});

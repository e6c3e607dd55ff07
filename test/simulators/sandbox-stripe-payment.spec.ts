import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import {
  FORM,
  nowSeconds,
  refusalOf,
  stripeSdkFor,
  topUpSessionParams,
} from '../support/payments/sandbox-stripe-client.js';
import { eventually } from '../support/processes.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

describe('a top-up through the real SDK', () => {
  it('walks from customer to session to payment to charge to balance transaction, with our ids on each', async () => {
    const customer = await stripe.customers.create({
      email: 'ada@example.com',
      name: 'Ada',
      metadata: { account_id: 'a1' },
    });
    expect(customer).toMatchObject({
      object: 'customer',
      livemode: false,
      email: 'ada@example.com',
      metadata: { account_id: 'a1' },
    });
    expect(await stripe.customers.retrieve(customer.id)).toMatchObject({ id: customer.id });

    const session = await stripe.checkout.sessions.create(topUpSessionParams({ customer: customer.id }));
    expect(session.id).toMatch(/^cs_test_/);
    expect(session).toMatchObject({
      object: 'checkout.session',
      amount_subtotal: 1_050,
      amount_total: 1_050,
      client_reference_id: 'tu_1',
      currency: 'usd',
      customer: customer.id,
      livemode: false,
      metadata: { top_up_id: 'tu_1' },
      mode: 'payment',
      payment_intent: null,
      payment_status: 'unpaid',
      status: 'open',
      ui_mode: 'hosted_page',
      url: `${sandbox.baseUrl}/c/pay/${session.id}`,
    });
    expect(session).not.toHaveProperty('line_items');

    const paid = await fetch(`${session.url}/pay`, {
      method: 'POST',
      headers: { accept: 'application/json' },
    });
    expect(paid.status).toBe(200);
    expect(await paid.json()).toMatchObject({
      status: 'paid',
      session: { id: session.id, status: 'complete' },
    });

    const read = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge.balance_transaction', 'line_items', 'customer'],
    });
    expect(read).toMatchObject({
      customer: { id: customer.id },
      customer_details: { email: 'ada@example.com', name: 'Ada' },
      payment_status: 'paid',
      status: 'complete',
      url: null,
      payment_intent: {
        object: 'payment_intent',
        amount: 1_050,
        amount_received: 1_050,
        metadata: { top_up_id: 'tu_1' },
        status: 'succeeded',
        latest_charge: {
          object: 'charge',
          amount: 1_050,
          paid: true,
          metadata: { top_up_id: 'tu_1' },
          // 2.9% of $10.50 is 30.45 cents, rounded half up, and 30 cents on top.
          balance_transaction: {
            object: 'balance_transaction',
            amount: 1_050,
            fee: 60,
            net: 990,
            reporting_category: 'charge',
          },
        },
      },
    });
    expect(read.line_items?.data.map((item) => [item.description, item.amount_total])).toEqual([
      ['API credit', 1_000],
      ['Platform fee (5%)', 50],
    ]);

    const intentId = (read.payment_intent as Stripe.PaymentIntent).id;
    const intent = await stripe.paymentIntents.retrieve(intentId, { expand: ['latest_charge'] });
    const charge = intent.latest_charge as Stripe.Charge;
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({
      id: charge.id,
      payment_intent: intentId,
    });
    const byIntent = await stripe.checkout.sessions.list({ payment_intent: intentId });
    expect(byIntent.data.map(({ id }) => id)).toEqual([session.id]);

    const events = await stripe.events.list({
      types: ['checkout.session.completed', 'payment_intent.succeeded', 'charge.succeeded'],
    });
    expect(events.data.map(({ type }) => type)).toEqual([
      'checkout.session.completed',
      'payment_intent.succeeded',
      'charge.succeeded',
    ]);
    const completed = events.data[0] as Stripe.Event;
    expect(completed).toMatchObject({
      api_version: '2026-10-28.endive',
      livemode: false,
      data: { object: { id: session.id } },
    });
    expect(await stripe.events.retrieve(completed.id)).toMatchObject({ id: completed.id });
  });

  it('keeps a declined session open, and the second card settles the same payment intent', async () => {
    const session = await stripe.checkout.sessions.create(topUpSessionParams());
    const declined = await sandbox.control.pay(session.id, '4000 0000 0000 0002');
    expect(declined).toMatchObject({
      status: 'declined',
      error: { code: 'card_declined', decline_code: 'generic_decline' },
    });
    const open = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge'],
    });
    expect(open).toMatchObject({
      status: 'open',
      payment_status: 'unpaid',
      payment_intent: {
        status: 'requires_payment_method',
        last_payment_error: { code: 'card_declined' },
        latest_charge: { status: 'failed', paid: false, balance_transaction: null },
      },
    });
    expect(sandbox.control.events('payment_intent.payment_failed')).toHaveLength(1);

    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'paid' });
    const complete = await stripe.checkout.sessions.retrieve(session.id);
    expect(complete.payment_intent).toBe((open.payment_intent as Stripe.PaymentIntent).id);
  });

  it('takes the money of one session once, however often and however concurrently it is paid', async () => {
    const session = await stripe.checkout.sessions.create(topUpSessionParams());
    const pay = () =>
      fetch(`${session.url}/pay`, { method: 'POST', headers: { accept: 'application/json' } });
    const answers = await Promise.all(Array.from({ length: 20 }, pay));
    expect(answers.map(({ status }) => status).sort()).toEqual([
      200,
      ...Array.from({ length: 19 }, () => 409),
    ]);
    const { payment_intent: intentId } = await stripe.checkout.sessions.retrieve(session.id);
    const charges = await stripe.charges.list({ payment_intent: intentId as string });
    expect(charges.data).toHaveLength(1);
  });

  it('refuses payment of an expired session', async () => {
    const session = await stripe.checkout.sessions.create(topUpSessionParams());
    expect(await stripe.checkout.sessions.expire(session.id)).toMatchObject({ status: 'expired', url: null });
    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'expired' });
    const again = await refusalOf(stripe.checkout.sessions.expire(session.id));
    expect(again).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect(sandbox.control.events('checkout.session.expired')[0]?.data.object).toMatchObject({
      id: session.id,
    });
  });

  it('expires a session by itself once its time is over', async () => {
    const session = await stripe.checkout.sessions.create(topUpSessionParams());
    await sandbox.control.overrideCheckoutSession(session.id, { expires_at: nowSeconds() - 1 });
    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'expired' });
    await eventually('it is expired', async () => {
      const { status } = await stripe.checkout.sessions.retrieve(session.id);
      return status === 'expired';
    });
  });
});

describe('the payment page', () => {
  const html = async (url: string, init?: RequestInit) => {
    const response = await fetch(url, { redirect: 'manual', ...init });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };

  it('shows what is bought, says that it is a sandbox, and escapes everything a caller wrote', async () => {
    const name = '<script>alert("x")</script> & \'credit\'';
    const { url } = await stripe.checkout.sessions.create(
      topUpSessionParams({
        line_items: [
          { quantity: 3, price_data: { currency: 'usd', unit_amount: 1_050, product_data: { name } } },
        ],
      }),
    );
    const page = await html(url as string);
    expect(page.status).toBe(200);
    expect(page.text).toContain('SANDBOX');
    expect(page.text).toContain('$31.50');
    expect(page.text).toContain('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;credit&#39;');
    expect(page.text).not.toContain('<script');
    const policy = page.headers.get('content-security-policy');
    expect(policy).toContain("default-src 'none'");
    const [, style = ''] = /<style>([^]*)<\/style>/.exec(page.text) ?? [];
    expect(policy).toContain(`style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`);
    // Browsers also hold the redirect after paying against this list.
    expect(policy).toContain("form-action 'self' http://127.0.0.1:1;");
  });

  it('sends the browser on to success_url with the session id filled in', async () => {
    const { url, id } = await stripe.checkout.sessions.create(topUpSessionParams());
    const paid = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=4242424242424242' });
    expect(paid.status).toBe(303);
    expect(paid.headers.get('location')).toBe(`http://127.0.0.1:1/done?session_id=${id}`);
    const again = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=4242424242424242' });
    expect(again.status).toBe(409);
    expect(again.text).toContain('Already paid');
    const later = await html(url as string);
    expect(later.status).toBe(200);
    expect(later.text).toContain('Already paid');
  });

  it('shows a decline as an alert on the same page, and refuses numbers that are no test card', async () => {
    const { url } = await stripe.checkout.sessions.create(topUpSessionParams());
    const declined = await html(`${url}/pay`, {
      method: 'POST',
      headers: FORM,
      body: 'card=4000000000000002',
    });
    expect(declined.status).toBe(402);
    expect(declined.text).toContain('role="alert"');
    expect(declined.text).toContain('Your card was declined.');
    const unknown = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=5555' });
    expect(unknown.status).toBe(400);
    expect((await stripe.checkout.sessions.list({ limit: 1 })).data[0]).toMatchObject({
      payment_status: 'unpaid',
    });
  });

  it('answers 410 when the time is over and 404 when there is nothing', async () => {
    const { url, id } = await stripe.checkout.sessions.create(topUpSessionParams());
    await stripe.checkout.sessions.expire(id);
    expect((await html(url as string)).status).toBe(410);
    expect((await html(`${url}/pay`, { method: 'POST' })).status).toBe(410);
    expect((await html(`${sandbox.baseUrl}/c/pay/cs_test_nobody`)).status).toBe(404);
  });
});

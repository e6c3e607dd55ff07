import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { eventTypes } from 'coffer-sandbox/stripe/event-types';
import { stripeSdkFor, topUpSessionParams } from '../support/payments/sandbox-stripe-client.js';
import { declaredMembers, operationMembers, typeFile } from '../support/payments/sandbox-stripe-sdk-types.js';

const SESSIONS = 'Checkout/Sessions';
const CREATE = 'Checkout.SessionCreateParams';

describe('the parameters of the simulator are those of the SDK, name by name', () => {
  it.each<[string, string, string, string, readonly string[]]>([
    ['POST', '/v1/customers', 'Customers', 'CustomerCreateParams', []],
    ['GET', '/v1/customers', 'Customers', 'CustomerListParams', []],
    ['POST', '/v1/checkout/sessions', SESSIONS, CREATE, []],
    ['POST', '/v1/checkout/sessions', SESSIONS, `${CREATE}.LineItem`, ['line_items']],
    ['POST', '/v1/checkout/sessions', SESSIONS, `${CREATE}.LineItem.PriceData`, ['line_items', 'price_data']],
    [
      'POST',
      '/v1/checkout/sessions',
      SESSIONS,
      `${CREATE}.LineItem.PriceData.ProductData`,
      ['line_items', 'price_data', 'product_data'],
    ],
    ['POST', '/v1/checkout/sessions', SESSIONS, `${CREATE}.PaymentIntentData`, ['payment_intent_data']],
    ['POST', '/v1/checkout/sessions', SESSIONS, `${CREATE}.InvoiceCreation`, ['invoice_creation']],
    [
      'POST',
      '/v1/checkout/sessions',
      SESSIONS,
      `${CREATE}.InvoiceCreation.InvoiceData`,
      ['invoice_creation', 'invoice_data'],
    ],
    ['POST', '/v1/checkout/sessions', SESSIONS, `${CREATE}.AutomaticTax`, ['automatic_tax']],
    ['GET', '/v1/checkout/sessions', SESSIONS, 'Checkout.SessionListParams', []],
    ['GET', '/v1/checkout/sessions/:id', SESSIONS, 'Checkout.SessionRetrieveParams', []],
    ['POST', '/v1/checkout/sessions/:id/expire', SESSIONS, 'Checkout.SessionExpireParams', []],
    ['GET', '/v1/checkout/sessions/:id/line_items', SESSIONS, 'Checkout.SessionListLineItemsParams', []],
    ['GET', '/v1/payment_intents/:id', 'PaymentIntents', 'PaymentIntentRetrieveParams', []],
    ['GET', '/v1/payment_intents', 'PaymentIntents', 'PaymentIntentListParams', []],
    ['GET', '/v1/charges/:id', 'Charges', 'ChargeRetrieveParams', []],
    ['GET', '/v1/charges', 'Charges', 'ChargeListParams', []],
    ['GET', '/v1/events', 'Events', 'EventListParams', []],
    ['POST', '/v1/webhook_endpoints', 'WebhookEndpoints', 'WebhookEndpointCreateParams', []],
  ])('%s %s: %s %s', (method, route, file, name, nested) => {
    const { required, optional } = declaredMembers(file, name);
    expect([...operationMembers(method, route, nested)].sort()).toEqual([...required, ...optional].sort());
  });

  it('knows every event type that an endpoint can ask for, and no other', () => {
    const text = typeFile('WebhookEndpoints');
    const [, union = ''] = /type EnabledEvent = ([^;]*);/.exec(text) ?? [];
    const names = Array.from(union.matchAll(/'([^']+)'/g), ([, name]) => name).filter((name) => name !== '*');
    expect(names.length).toBeGreaterThan(200);
    expect([...eventTypes()].sort()).toEqual(names.sort());
  });
});

describe('the objects of the simulator carry every member that the SDK types promise, and none that they do not know', () => {
  let sandbox: SandboxStripe;
  let objects: Readonly<Record<string, object>>;

  beforeAll(async () => {
    sandbox = await startSandboxStripe();
    const stripe = stripeSdkFor(sandbox.baseUrl);
    const customer = await stripe.customers.create({ email: 'ada@example.com' });
    const { id } = await stripe.checkout.sessions.create(topUpSessionParams({ customer: customer.id }));
    await sandbox.control.pay(id, '4000000000000002');
    await sandbox.control.pay(id);
    const session = await stripe.checkout.sessions.retrieve(id, { expand: ['line_items'] });
    const intent = await stripe.paymentIntents.retrieve(session.payment_intent as string, {
      expand: ['latest_charge.balance_transaction'],
    });
    const charge = intent.latest_charge as Stripe.Charge;
    const [event] = (await stripe.events.list({ limit: 1 })).data;
    const endpoint = await stripe.webhookEndpoints.create({ url: sandbox.baseUrl, enabled_events: ['*'] });
    const lineItem = session.line_items?.data[0];
    objects = {
      session,
      customer,
      intent,
      charge,
      endpoint,
      event: event ?? {},
      lineItem: lineItem ?? {},
      price: lineItem?.price ?? {},
      balanceTransaction: charge.balance_transaction as Stripe.BalanceTransaction,
      outcome: charge.outcome ?? {},
      billingDetails: charge.billing_details,
      customerDetails: session.customer_details ?? {},
    };
  });

  afterAll(() => sandbox.close());

  it.each([
    ['session', SESSIONS, 'Session'],
    ['customerDetails', SESSIONS, 'Session.CustomerDetails'],
    ['customer', 'Customers', 'Customer'],
    ['intent', 'PaymentIntents', 'PaymentIntent'],
    ['charge', 'Charges', 'Charge'],
    ['outcome', 'Charges', 'Charge.Outcome'],
    ['billingDetails', 'Charges', 'Charge.BillingDetails'],
    ['balanceTransaction', 'BalanceTransactions', 'BalanceTransaction'],
    ['event', 'Events', 'EventBase'],
    ['endpoint', 'WebhookEndpoints', 'WebhookEndpoint'],
    ['lineItem', 'LineItems', 'LineItem'],
    ['price', 'Prices', 'Price'],
  ])('%s', (kind, file, name) => {
    const { required, optional } = declaredMembers(file, name);
    const members = Object.keys(objects[kind] ?? {});
    expect(required.filter((member) => !members.includes(member))).toEqual([]);
    expect(members.filter((member) => !required.includes(member) && !optional.includes(member))).toEqual([]);
  });
});

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import ts from 'typescript';
import {
  STRIPE_OPERATIONS,
  startSandboxStripe,
  type SandboxStripe,
} from '../../src/sandbox/stripe/server.js';
import { eventTypes } from '../../src/sandbox/stripe/event-types.js';
import type { Members } from '../../src/sandbox/stripe/parameter-schema.js';
import { stripeSdkFor, topUpSessionParams } from '../support/sandbox-stripe-client.js';

const SDK = path.join(import.meta.dirname, '../../node_modules/stripe/esm');

type Declared = { readonly required: readonly string[]; readonly optional: readonly string[] };

/** The members of `interface A` or `namespace A { interface B }` (written `A.B`) in one of the SDK's type files. */
function declared(file: string, name: string): Declared {
  const text = readFileSync(path.join(SDK, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found = find(source, name.split('.'));
  if (found === null) throw new Error(`${file} declares no ${name}`);
  const members = found.members.filter(ts.isPropertySignature);
  const named = (optional: boolean): string[] =>
    members
      .filter((member) => (member.questionToken !== undefined) === optional)
      .map((member) => member.name.getText(source));
  const inherited =
    found.heritageClauses?.flatMap(({ types }) => types.map((type) => type.getText(source))) ?? [];
  const pagination = inherited.includes('PaginationParams')
    ? ['ending_before', 'limit', 'starting_after']
    : [];
  return { required: named(false), optional: [...named(true), ...pagination] };
}

function find(node: ts.Node, names: readonly string[]): ts.InterfaceDeclaration | null {
  const [name, ...rest] = names;
  let found: ts.InterfaceDeclaration | null = null;
  ts.forEachChild(node, (child) => {
    if (found !== null) return;
    if (rest.length === 0 && ts.isInterfaceDeclaration(child) && child.name.text === name) found = child;
    else if (ts.isModuleDeclaration(child) && child.name.text === name && child.body !== undefined) {
      found = rest.length === 0 ? null : find(child.body, rest);
    } else if (ts.isModuleDeclaration(child) && child.name.text !== name && child.body !== undefined) {
      found = find(child.body, names);
    } else if (ts.isModuleBlock(child)) found = find(child, names);
  });
  return found;
}

function membersOf(method: string, route: string, nested: readonly string[] = []): Members {
  const operation = STRIPE_OPERATIONS.find(
    (candidate) => candidate.method === method && candidate.path === route,
  );
  if (operation === undefined) throw new Error(`no operation ${method} ${route}`);
  let members = operation.members;
  for (const name of nested) members = members[name]?.members ?? {};
  return members;
}

const SESSIONS = 'resources/Checkout/Sessions.d.ts';
const CREATE = 'Checkout.SessionCreateParams';

describe('the parameters of the stand-in are those of the SDK, name by name', () => {
  it.each<[string, string, string, string, readonly string[]]>([
    ['POST', '/v1/customers', 'resources/Customers.d.ts', 'CustomerCreateParams', []],
    ['GET', '/v1/customers', 'resources/Customers.d.ts', 'CustomerListParams', []],
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
    ['GET', '/v1/payment_intents/:id', 'resources/PaymentIntents.d.ts', 'PaymentIntentRetrieveParams', []],
    ['GET', '/v1/payment_intents', 'resources/PaymentIntents.d.ts', 'PaymentIntentListParams', []],
    ['GET', '/v1/charges/:id', 'resources/Charges.d.ts', 'ChargeRetrieveParams', []],
    ['GET', '/v1/charges', 'resources/Charges.d.ts', 'ChargeListParams', []],
    ['GET', '/v1/events', 'resources/Events.d.ts', 'EventListParams', []],
    ['POST', '/v1/webhook_endpoints', 'resources/WebhookEndpoints.d.ts', 'WebhookEndpointCreateParams', []],
  ])('%s %s: %s %s', (method, route, file, name, nested) => {
    const { required, optional } = declared(file, name);
    expect(Object.keys(membersOf(method, route, nested)).sort()).toEqual([...required, ...optional].sort());
  });

  it('knows every event type that an endpoint can ask for, and no other', () => {
    const text = readFileSync(path.join(SDK, 'resources/WebhookEndpoints.d.ts'), 'utf8');
    const [, union = ''] = /type EnabledEvent = ([^;]*);/.exec(text) ?? [];
    const names = Array.from(union.matchAll(/'([^']+)'/g), ([, name]) => name).filter((name) => name !== '*');
    expect(names.length).toBeGreaterThan(200);
    expect([...eventTypes()].sort()).toEqual(names.sort());
  });
});

describe('the objects of the stand-in carry every member that the SDK types promise, and none that they do not know', () => {
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
    ['customer', 'resources/Customers.d.ts', 'Customer'],
    ['intent', 'resources/PaymentIntents.d.ts', 'PaymentIntent'],
    ['charge', 'resources/Charges.d.ts', 'Charge'],
    ['outcome', 'resources/Charges.d.ts', 'Charge.Outcome'],
    ['billingDetails', 'resources/Charges.d.ts', 'Charge.BillingDetails'],
    ['balanceTransaction', 'resources/BalanceTransactions.d.ts', 'BalanceTransaction'],
    ['event', 'resources/Events.d.ts', 'EventBase'],
    ['endpoint', 'resources/WebhookEndpoints.d.ts', 'WebhookEndpoint'],
    ['lineItem', 'resources/LineItems.d.ts', 'LineItem'],
    ['price', 'resources/Prices.d.ts', 'Price'],
  ])('%s', (kind, file, name) => {
    const { required, optional } = declared(file, name);
    const members = Object.keys(objects[kind] ?? {});
    expect(required.filter((member) => !members.includes(member))).toEqual([]);
    expect(members.filter((member) => !required.includes(member) && !optional.includes(member))).toEqual([]);
  });
});

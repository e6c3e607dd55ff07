import type Stripe from 'stripe';
import type { SandboxStripe } from 'coffer-sandbox/stripe/server';
import { eventually } from '../processes.js';
import { topUpSessionParams } from './sandbox-stripe-client.js';

/** What was paid on the payment page, read back through the API. */
export type Paid = {
  readonly session: Stripe.Checkout.Session;
  readonly intent: Stripe.PaymentIntent;
  readonly charge: Stripe.Charge;
};

type SessionParams = Parameters<typeof topUpSessionParams>[0];

/** A session of $10.50, paid with a test card. */
export async function payTopUp(
  sandbox: SandboxStripe,
  stripe: Stripe,
  card?: string,
  overrides: SessionParams = {},
): Promise<Paid> {
  const { id } = await stripe.checkout.sessions.create(topUpSessionParams(overrides));
  const outcome = await sandbox.control.pay(id, card);
  if (outcome.status !== 'paid') throw new Error(`not paid: ${outcome.status}`);
  const session = await stripe.checkout.sessions.retrieve(id);
  const intent = await stripe.paymentIntents.retrieve(session.payment_intent as string);
  const charge = await stripe.charges.retrieve(intent.latest_charge as string);
  return { session, intent, charge };
}

/** The same with tax on top, for a customer whose address no one knew; with its invoice. */
export async function payTaxed(sandbox: SandboxStripe, stripe: Stripe): Promise<Stripe.Checkout.Session> {
  const customer = await stripe.customers.create({ email: 'ada@example.com' });
  const params = topUpSessionParams({ customer: customer.id });
  const { id } = await stripe.checkout.sessions.create({
    ...params,
    ...TAXED,
    line_items: (params.line_items ?? []).map(taxedItem),
  });
  await sandbox.control.pay(id);
  return stripe.checkout.sessions.retrieve(id, { expand: ['invoice'] });
}

/** What a session needs for Stripe to compute tax. */
export const TAXED = {
  automatic_tax: { enabled: true },
  billing_address_collection: 'required',
  customer_update: { address: 'auto', name: 'auto' },
} as const satisfies Partial<Stripe.Checkout.SessionCreateParams>;

export function taxedItem(
  item: Stripe.Checkout.SessionCreateParams.LineItem,
): Stripe.Checkout.SessionCreateParams.LineItem {
  const { price_data: priceData } = item;
  if (priceData === undefined) throw new Error('this test has its prices in its items');
  return { ...item, price_data: { ...priceData, tax_behavior: 'exclusive' } };
}

export type SavedCard = { readonly customerId: string; readonly paymentMethodId: string };

/** A card that a customer saved for off-session use while they paid for a first top-up. */
export async function saveCard(sandbox: SandboxStripe, stripe: Stripe, card?: string): Promise<SavedCard> {
  const { id: customerId } = await stripe.customers.create({ name: 'Ada', email: 'ada@example.com' });
  const { intent } = await payTopUp(sandbox, stripe, card, {
    customer: customerId,
    payment_intent_data: { setup_future_usage: 'off_session' },
  });
  return { customerId, paymentMethodId: intent.payment_method as string };
}

/** The types of the events since then, oldest first. */
export function eventsSince(sandbox: SandboxStripe, count: number): string[] {
  const all = sandbox.control.events();
  return all
    .slice(0, all.length - count)
    .map(({ type }) => type)
    .toReversed();
}

export async function allOf<T extends { id: string }>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of list) found.push(item);
  return found;
}

export async function until<T>(what: string, probe: () => Promise<T | null>): Promise<T> {
  let found: T | null = null;
  await eventually(what, async () => (found = await probe()) !== null);
  return found as T;
}

/** A control route, as a script calls it. */
export async function controlRoute(
  sandbox: SandboxStripe,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Readonly<Record<string, unknown>> }> {
  const response = await fetch(`${sandbox.baseUrl}/_sandbox/${path}`, {
    method: 'POST',
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> };
}

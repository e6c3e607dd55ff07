import Stripe from 'stripe';

/** The real SDK, pointed at a simulator. */
export function stripeSdkFor(baseUrl: string, maxNetworkRetries = 0): Stripe {
  const { hostname, port } = new URL(baseUrl);
  const address = { host: hostname, port, protocol: 'http' as const };
  return new Stripe('sk_test_sandbox', { ...address, maxNetworkRetries, telemetry: false });
}

export const nowSeconds = (): number => Math.floor(Date.now() / 1_000);

type SessionParams = Stripe.Checkout.SessionCreateParams;

/** A Checkout Session as the service creates it: $10.00 of credit and 5% on top. */
export function topUpSessionParams(overrides: Partial<SessionParams> = {}): SessionParams {
  const item = (amount: number, name: string) => ({
    quantity: 1,
    price_data: { currency: 'usd', unit_amount: amount, product_data: { name } },
  });
  return {
    mode: 'payment',
    client_reference_id: 'tu_1',
    line_items: [item(1_000, 'API credit'), item(50, 'Platform fee (5%)')],
    payment_intent_data: { metadata: { top_up_id: 'tu_1' }, description: 'API credit' },
    metadata: { top_up_id: 'tu_1' },
    invoice_creation: { enabled: true, invoice_data: { metadata: { top_up_id: 'tu_1' } } },
    adaptive_pricing: { enabled: false },
    expires_at: nowSeconds() + 35 * 60,
    success_url: 'http://127.0.0.1:1/done?session_id={CHECKOUT_SESSION_ID}',
    cancel_url: 'http://127.0.0.1:1/back',
    ...overrides,
  };
}

/** The error that the SDK throws; fails when there is none. */
export async function refusalOf(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof Stripe.errors.StripeError) return error;
  throw new Error(`expected a Stripe error, got ${String(error)}`);
}

export const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

type RawRequest = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly key?: string | null;
};

/** A request that the SDK would never send. */
export async function rawStripeRequest(baseUrl: string, path: string, request: RawRequest = {}) {
  const { key = 'sk_test_sandbox', headers, ...rest } = request;
  const authorization = key === null ? {} : { authorization: `Bearer ${key}` };
  const response = await fetch(`${baseUrl}${path}`, { ...rest, headers: { ...authorization, ...headers } });
  const body = (await response.json()) as { error: Readonly<Record<string, unknown>> };
  return { status: response.status, headers: response.headers, body };
}

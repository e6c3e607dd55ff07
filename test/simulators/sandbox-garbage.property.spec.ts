import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  startSandboxBlackForestLabs,
  type SandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { FORM } from '../support/payments/sandbox-stripe-client.js';
import { checkProperty } from '../support/property.js';

let stripe: SandboxStripe;
let blackForestLabs: SandboxBlackForestLabs;

beforeAll(async () => {
  stripe = await startSandboxStripe();
  blackForestLabs = await startSandboxBlackForestLabs({ instant: true });
});

afterAll(() => Promise.all([stripe.close(), blackForestLabs.close()]));

const RUNS = { runs: 300 };

/** Names and values near those that the API knows, so that the garbage gets past the first check. */
const name = fc.oneof(
  fc.constantFrom(
    'mode',
    'line_items[0][price_data][unit_amount]',
    'line_items[0]',
    'line_items[]',
    'line_items',
  ),
  fc.constantFrom(
    'metadata[a]',
    'metadata',
    'expand[]',
    'expires_at',
    'success_url',
    '__proto__',
    'constructor[a]',
  ),
  fc.string({ maxLength: 12 }),
);
const value = fc.oneof(
  fc.constantFrom('payment', '', '-0', '1e9', 'null', 'true'),
  fc.string({ maxLength: 20 }),
);

describe('garbage', () => {
  it('gets a 4xx with a Stripe error body from every Stripe route, never a 5xx and never a session', async () => {
    await checkProperty(
      "garbage to Stripe's routes",
      fc.asyncProperty(
        fc.constantFrom('/v1/checkout/sessions', '/v1/webhook_endpoints', '/v1/checkout/sessions/x/expire'),
        fc.array(fc.tuple(name, value), { maxLength: 8 }),
        async (route, pairs) => {
          const response = await fetch(`${stripe.baseUrl}${route}`, {
            method: 'POST',
            headers: { ...FORM, authorization: 'Bearer sk_test_garbage' },
            body: new URLSearchParams(pairs).toString(),
          });
          const body = (await response.json()) as { error?: { type?: string; message?: string } };
          expect(response.status).toBeGreaterThanOrEqual(400);
          expect(response.status).toBeLessThan(500);
          expect(body.error).toMatchObject({ type: 'invalid_request_error', message: expect.any(String) });
        },
      ),
      RUNS,
    );
    expect(stripe.control.events()).toEqual([]);
  });

  it('gets a 4xx from the payment page', async () => {
    await checkProperty(
      'garbage to the payment page',
      fc.asyncProperty(fc.string(), fc.string(), fc.boolean(), async (id, body, isJson) => {
        const headers = isJson ? { 'content-type': 'application/json' } : FORM;
        const url = `${stripe.baseUrl}/c/pay/${encodeURIComponent(id)}/pay`;
        const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual' });
        await response.arrayBuffer();
        expect(response.status).toBeGreaterThanOrEqual(400);
        expect(response.status).toBeLessThan(500);
      }),
      RUNS,
    );
  });

  it('gets a picture or a 422 in FastAPI shape from Black Forest Labs, never a 5xx', async () => {
    const member = fc.constantFrom(
      ...[
        'prompt',
        'width',
        'height',
        'seed',
        'output_format',
        'input_image',
        'safety_tolerance',
        '__proto__',
      ],
    );
    const json = fc.oneof(fc.jsonValue(), fc.dictionary(member, fc.jsonValue(), { maxKeys: 5 }));
    await checkProperty(
      'garbage to Black Forest Labs',
      fc.asyncProperty(json, async (body) => {
        const response = await fetch(`${blackForestLabs.baseUrl}/v1/flux-2-klein-9b`, {
          method: 'POST',
          headers: { 'x-key': 'bfl_test', 'content-type': 'application/json' },
          body: JSON.stringify(body),
        });
        const answer = (await response.json()) as { detail?: readonly unknown[] };
        expect([200, 422]).toContain(response.status);
        if (response.status === 422) expect(Array.isArray(answer.detail)).toBe(true);
      }),
      RUNS,
    );
  });
});

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { QUERY_PARAMETERS_MAX } from '../../src/platform/http/http-adapter.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer, TestClient } from '../support/app/test-client.js';
import {
  COMPLEX_BODIES,
  documentedRoutes,
  hostileHeads,
  PAGES,
  queryOf,
  type Route,
} from '../support/hostile-requests.js';

/* No request, up to every limit of its size, costs more than a few passes over it before it is refused. */

const ROUTES = documentedRoutes();
const WITH_BODY = ROUTES.filter(({ key, members }) => key !== null && members !== null);

let service: TestApp;
let customer: TestCustomer;
beforeAll(async () => {
  // More requests a minute than a key may send.
  service = await startTestApp({ settings: { rateLimit: false } });
  customer = await service.createCustomer();
});
afterAll(() => service.close());

function clientOf({ key }: Pick<Route, 'key'>): TestClient {
  return key === 'operator' ? service.operator : key === 'account' ? customer.client : service.client(null);
}

function statusAndCode({ status, body }: TestAnswer): { readonly status: number; readonly code: unknown } {
  return { status, code: (body as { error?: { code?: unknown } }).error?.code };
}

describe('a body that is nested too deeply, or has too many members', () => {
  it.each(Object.entries(COMPLEX_BODIES))('is refused as such by every route: %s', async (_name, body) => {
    for (const route of WITH_BODY) {
      const { method, path } = route;
      const answer = await clientOf(route).send(method, path, { body });
      expect({ method, path, ...statusAndCode(answer) }).toEqual({
        method,
        path,
        status: 400,
        code: 'malformed_body',
      });
    }
  });

  it('is refused by the webhook of Stripe as well, which has no key', async () => {
    for (const body of Object.values(COMPLEX_BODIES)) {
      const answer = await service.client(null).send('POST', '/webhooks/stripe', { body });
      expect(statusAndCode(answer)).toEqual({ status: 400, code: 'malformed_body' });
    }
  });
});

describe('a query', () => {
  it(`of more than ${QUERY_PARAMETERS_MAX} parameters is refused by every path, known or not, with a key or without`, async () => {
    const paths: readonly Pick<Route, 'method' | 'path' | 'key'>[] = [
      ...ROUTES,
      { method: 'GET', path: '/nowhere', key: null },
      { method: 'GET', path: '/', key: null },
    ];
    for (const query of [queryOf(QUERY_PARAMETERS_MAX + 1), queryOf(2_500), '&'.repeat(8_000)]) {
      for (const route of paths) {
        const { method, path } = route;
        const answer = await clientOf(route).send(method, `${path}?${query}`);
        const { message } = (answer.body as { error: { message: string } }).error;
        expect({ method, path, status: answer.status, message }).toEqual({
          method,
          path,
          status: 400,
          message: `The query has more than ${QUERY_PARAMETERS_MAX} parameters. Nothing was charged.`,
        });
      }
    }
  });

  it('of as many as are allowed is read, and its first unknown one named', async () => {
    const answer = await customer.client.get(
      `/v1/wallet/transactions?limit=1&${queryOf(QUERY_PARAMETERS_MAX - 1)}`,
    );
    expect(answer.expect(400).body.error).toMatchObject({ code: 'invalid_request', param: 'p0' });
  });
});

describe('a parameter or header as long as a request may have', () => {
  it('is no fault of ours on any route or page, with the key of the route', async () => {
    const faults: string[] = [];
    for (const route of [...ROUTES, ...PAGES]) {
      for (const { name, path, headers } of hostileHeads(route)) {
        const { status } = await clientOf(route).send(route.method, path, { headers });
        if (status >= 500 && !isExpected(route, status))
          faults.push(`${route.method} ${route.template}: ${name} ${status}`);
      }
    }
    expect(faults).toEqual([]);
  });
});

/** What this service has not: a provider, Stripe. */
function isExpected({ responses }: Route, status: number): boolean {
  return status === 503 && '503' in responses;
}

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { BODY_TO_COME, beginRequest, type RawAnswer } from '../support/app/raw-request.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { documentedRoutes } from '../support/hostile-requests.js';

/* A key is asked for when the headers of a request have come: nothing of a stranger's body is read. */

const WITH_KEY = documentedRoutes().filter(({ key }) => key !== null);

let service: TestApp;
let customer: TestCustomer;
beforeAll(async () => {
  // More refused keys a minute than an address may send.
  service = await startTestApp({ settings: { rateLimit: false } });
  customer = await service.createCustomer();
});
afterAll(() => service.close());

const begin = (bytes: string): Promise<RawAnswer> => beginRequest(service.url, bytes);

describe('a caller without a valid key', () => {
  const KEYS: readonly (readonly [string, () => string, string])[] = [
    ['none', () => '', 'missing_api_key'],
    ['another scheme', () => 'authorization: Basic eDp5\r\n', 'missing_api_key'],
    ['a malformed one', () => 'authorization: Bearer nonsense\r\n', 'invalid_api_key'],
    ['an unknown one', () => `authorization: Bearer ${makeApiKey('account_key')}\r\n`, 'invalid_api_key'],
    [
      'two',
      () => `authorization: Bearer ${customer.apiKey}\r\nauthorization: Bearer x\r\n`,
      'invalid_api_key',
    ],
  ];

  it.each(KEYS)('is answered by every route before the body has come: %s', async (_name, header, code) => {
    for (const { method, path } of WITH_KEY) {
      const answer = await begin(`${method} ${path} HTTP/1.1\r\nhost: x\r\n${header()}${BODY_TO_COME}`);
      expect({ method, path, ...answer }).toEqual({ method, path, status: 401, code });
    }
  });

  it('is refused for that reason although the body is not even JSON, and nothing of it is parsed', async () => {
    for (const body of ['{', '['.repeat(100_000)]) {
      const answer = await service.client(makeApiKey('operator_key')).send('POST', '/v1/accounts', { body });
      expect(answer.expect(401).body.error.code).toBe('invalid_api_key');
    }
    const typed = { body: 'x', headers: { 'content-type': 'text/plain' } };
    (await service.client(null).send('POST', '/v1/debits', typed)).expect(401);
  });

  it('but of another scope is refused before the body has come', async () => {
    const header = `authorization: Bearer ${customer.apiKey}\r\n`;
    const answer = await begin(`POST /v1/debits HTTP/1.1\r\nhost: x\r\n${header}${BODY_TO_COME}`);
    expect(answer).toEqual({ status: 403, code: 'insufficient_scope' });
  });

  it('and asks for a path that there is not hears so before the body has come', async () => {
    const nowhere = await begin(`POST /v1/nowhere HTTP/1.1\r\nhost: x\r\n${BODY_TO_COME}`);
    expect(nowhere).toEqual({ status: 404, code: 'route_not_found' });
    const wrongMethod = await begin(`PUT /v1/debits HTTP/1.1\r\nhost: x\r\n${BODY_TO_COME}`);
    expect(wrongMethod).toEqual({ status: 405, code: 'method_not_allowed' });
  });

  it('of a connection that is kept may send the whole request again, with a key', async () => {
    const client = service.client(null);
    const body = { name: 'x'.repeat(100_000) };
    for (let round = 0; round < 3; round += 1) {
      (await client.post('/v1/accounts', body)).expect(401);
      expect((await service.operator.post('/v1/accounts', body)).expect(400).body.error.param).toBe('name');
    }
  });
});

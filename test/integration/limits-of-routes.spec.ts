import { connect } from 'node:net';
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import type { Scope } from '../../src/identity/auth/principal.js';
import { WAITING_PER_ACCOUNT_MAX } from '../../src/identity/rate-limits/rate-limit.guard.js';
import {
  RATE_LIMIT_POLICIES,
  REQUESTS_PER_ADDRESS_MAX,
  SCOPE_LIMITS,
} from '../../src/identity/rate-limits/rate-limit-policies.js';
import { WalletReaderService } from '../../src/money/wallets/wallet-reader.service.js';
import { aCustomer } from '../fixtures/customers.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { BODY_TO_COME } from '../support/app/raw-request.js';
import { documentedRoutes } from '../support/hostile-requests.js';
import { eventually } from '../support/processes.js';

const closing: (() => unknown)[] = [];
afterEach(() => void jest.restoreAllMocks());
afterAll(async () => {
  for (const close of closing) await close();
});

describe('every route with a key', () => {
  it('has a limit and reports it, also when it refuses, except those that are excepted by their scope', async () => {
    const service = await sharedApp();
    const customer = await aCustomer().create();
    const excepted: string[] = [];
    for (const { method, path, key, scope, members } of documentedRoutes()) {
      if (key === null) continue;
      const client = key === 'operator' ? service.operator : customer.client;
      const answer = await client.send(method, path, members === null ? {} : { body: { unknown: true } });
      const hasLimit = answer.headers.has('ratelimit-policy') && answer.headers.has('ratelimit');
      if (!hasLimit) excepted.push(scope);
    }
    expect(excepted.map((scope) => SCOPE_LIMITS[scope as Scope])).toEqual(excepted.map(() => null));
    // Keys of the platform's own gateway, thousands of times a second: the bounded queue of the engine is their limit.
    expect(new Set(excepted)).toEqual(new Set(['debits']));
  });

  it('documents its limit and what it answers beyond it', () => {
    for (const { key, scope, responses } of documentedRoutes()) {
      if (key === null) continue;
      const { headers = {} } = responses['429'] ?? {};
      const documented =
        SCOPE_LIMITS[scope as Scope] === null ? [] : ['RateLimit', 'RateLimit-Policy', 'Retry-After'];
      expect(Object.keys(headers).sort()).toEqual(documented);
    }
  });

  it('of changes to API keys lets fewer through than others do: each may take the one queue of money', async () => {
    const customer = await aCustomer().create();
    const { perKey } = RATE_LIMIT_POLICIES.key_changes;
    const statuses: number[] = [];
    for (let index = 0; index <= perKey; index += 1) {
      statuses.push(
        (await customer.client.send('PATCH', '/v1/api_keys/none', { body: { spend_limits: null } })).status,
      );
    }
    expect(statuses).toEqual([...Array.from({ length: perKey }, () => 404), 429]);
    (await customer.client.get('/v1/api_keys')).expect(200);
  });
});

/** Every read of this account's wallet waits until it is let go. */
function holdReads(service: TestApp, accountId: string) {
  const reader = service.app.get<WalletReaderService>(WalletReaderService);
  const read = reader.read.bind(reader);
  let letGo = (): void => undefined;
  const opened = new Promise<void>((resolve) => (letGo = resolve));
  const held = { begun: 0, letGo: () => letGo() };
  jest.spyOn(reader, 'read').mockImplementation(async (account) => {
    if (account === accountId) {
      held.begun += 1;
      await opened;
    }
    return read(account);
  });
  return held;
}

describe('the requests of one account', () => {
  it('take a third of the connections to the database and wait for each other: those of others are answered at once', async () => {
    const service = await sharedApp();
    const share = Math.floor(service.settings.databasePoolSize / 3);
    const [flooding, other] = [await aCustomer().create(), await aCustomer().create()];
    const held = holdReads(service, flooding.accountId);
    const reads = Array.from({ length: 3 * share }, () => flooding.client.get('/v1/wallet'));
    await eventually('its share is at work', () => held.begun === share);
    (await other.client.get('/v1/wallet')).expect(200);
    expect(held.begun).toBe(share);
    held.letGo();
    for (const answer of await Promise.all(reads)) answer.expect(200);
    expect(held.begun).toBe(3 * share);
  });

  it('are refused when too many wait, and one whose client has left is not worked on at all', async () => {
    const service = await sharedApp();
    const share = Math.floor(service.settings.databasePoolSize / 3);
    const flooding = await aCustomer().create();
    const held = holdReads(service, flooding.accountId);
    const { port, hostname } = new URL(service.url);
    const request = `GET /v1/wallet HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${flooding.apiKey}\r\n\r\n`;
    const pipelined = connect(Number(port), hostname);
    // The answers to the refused ones come after the others on the same connection; a second connection gets them at once.
    pipelined.write(request.repeat(share + WAITING_PER_ACCOUNT_MAX));
    await eventually('its share is at work', () => held.begun === share);
    await eventually('too many wait', async () => {
      const { status, body } = await flooding.client.get('/v1/wallet');
      return status === 429 && body.error.code === 'concurrency_limit_exceeded';
    });
    pipelined.destroy();
    const begun = eventually('one more is at work', () => held.begun > share).then(() => null);
    let next = flooding.client.get('/v1/wallet');
    // Refused until the service has noticed that the connection has ended.
    while ((await Promise.race([next, begun])) !== null) next = flooding.client.get('/v1/wallet');
    held.letGo();
    (await next).expect(200);
    expect(held.begun).toBe(share + 1);
  });
});

describe('large bodies of one account that come slowly', () => {
  it('are sixteen at the same time, and do not keep its small requests or other accounts out', async () => {
    const service = await sharedApp();
    const [slow, other] = [await aCustomer().create(), await aCustomer().create()];
    const { port, hostname } = new URL(service.url);
    const sockets = Array.from({ length: 17 }, () => {
      const socket = connect(Number(port), hostname).resume();
      const key = `authorization: Bearer ${slow.apiKey}\r\n`;
      socket.write(`POST /v1/quotes HTTP/1.1\r\nhost: x\r\n${key}${BODY_TO_COME}`);
      return socket;
    });
    closing.push(() => sockets.forEach((socket) => socket.destroy()));
    const large = { model: 'x'.repeat(100_000) };
    await eventually('one too many is answered', () => sockets.some(({ bytesRead }) => bytesRead > 0));
    expect(sockets.filter(({ bytesRead }) => bytesRead > 0)).toHaveLength(1);
    expect((await slow.client.post('/v1/quotes', large)).body.error.code).toBe('concurrency_limit_exceeded');
    expect((await slow.client.post('/v1/quotes', { model: 'x' })).status).not.toBe(429);
    expect((await other.client.post('/v1/quotes', large)).status).not.toBe(429);
    sockets.forEach((socket) => socket.destroy());
    await eventually(
      'they are taken again',
      async () => (await slow.client.post('/v1/quotes', large)).status !== 429,
    );
  });
});

describe('large bodies of strangers that come slowly', () => {
  it('are four of an address at the same time, and keep no small event and no customer out', async () => {
    const service = await sharedApp();
    const { port, hostname } = new URL(service.url);
    const sockets = Array.from({ length: 5 }, () => {
      const socket = connect(Number(port), hostname).resume();
      socket.write(`POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\n${BODY_TO_COME}`);
      return socket;
    });
    closing.push(() => sockets.forEach((socket) => socket.destroy()));
    const stranger = service.client(null);
    const large = { id: 'x'.repeat(100_000) };
    await eventually('one too many is answered', () => sockets.some(({ bytesRead }) => bytesRead > 0));
    expect(sockets.filter(({ bytesRead }) => bytesRead > 0)).toHaveLength(1);
    expect((await stranger.post('/webhooks/stripe', large)).body.error.code).toBe(
      'concurrency_limit_exceeded',
    );
    expect((await stranger.post('/webhooks/stripe', { id: 'evt_small' })).status).not.toBe(429);
    const customer = await aCustomer().create();
    expect((await customer.client.post('/v1/quotes', { model: 'x'.repeat(100_000) })).status).not.toBe(429);
    sockets.forEach((socket) => socket.destroy());
    await eventually(
      'they are taken again',
      async () => (await stranger.post('/webhooks/stripe', large)).status !== 429,
    );
  });
});

describe('requests without a key', () => {
  it('are limited by network address, but for health and signed URLs; keys from there go on', async () => {
    const service = await startTestApp();
    closing.push(() => service.close());
    const customer = await service.createCustomer();
    const statuses = await pipeline(service, REQUESTS_PER_ADDRESS_MAX + 10);
    expect(statuses.slice(0, REQUESTS_PER_ADDRESS_MAX).every((status) => status === 404)).toBe(true);
    expect(statuses.slice(REQUESTS_PER_ADDRESS_MAX).every((status) => status === 429)).toBe(true);
    const stranger = service.client(null);
    for (const path of ['/', '/models', '/openapi.json', '/v1/catalog/models', '/v1/wallet', '/v1/nowhere']) {
      const refused = await stranger.get(path);
      expect([path, refused.status]).toEqual([path, 429]);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    (await stranger.get('/health/live')).expect(200);
    (await stranger.get('/v1/media/none/none')).expect(403);
    (await customer.client.get('/v1/wallet')).expect(200);
  });
});

/** Returns the statuses of this many requests for a path that does not exist, sent one after the other on one connection. */
function pipeline({ url }: TestApp, count: number): Promise<number[]> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    socket.write('GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(count));
    let received = '';
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString();
      const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
      if (statuses.length < count) return;
      socket.destroy();
      resolve(statuses);
    });
  });
}

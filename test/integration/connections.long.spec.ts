import { once } from 'node:events';
import type { Server } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { AuthGuard, DECISION_GOOD_FOR_MS } from '../../src/identity/auth/auth.guard.js';
import { HEADERS_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from '../../src/platform/http/connections.js';
import { countConnections, Peer } from '../support/app/peer.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { bodyOf } from '../support/images/unread-answers.js';
import { eventually } from '../support/processes.js';

let service: TestApp;
let server: Server;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  server = service.app.getHttpServer();
});
afterAll(() => service.close());

const open: Peer[] = [];
beforeEach(() =>
  eventually('all connections are closed', async () => (await countConnections(server)) === 0),
);
afterEach(() => {
  open.splice(0).forEach(({ socket }) => socket.destroy());
  // Of the clients that make customers and keys.
  server.closeIdleConnections();
});

function openPeer(bytes: string): Peer {
  const peer = new Peer(service.url, bytes);
  open.push(peer);
  return peer;
}

describe('the connections of a process', () => {
  it('are closed when they are silent, or slow with their headers or their body, and whatever the peer does then', async () => {
    expect({ headers: server.headersTimeout, request: server.requestTimeout }).toEqual({
      headers: HEADERS_TIMEOUT_MS,
      request: REQUEST_TIMEOUT_MS,
    });
    server.headersTimeout = 500;
    server.requestTimeout = 500;
    const silent = openPeer('');
    const slowHeaders = openPeer('POST /v1/debits HTTP/1.1\r\nhost: x\r\nx-');
    const body = 'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{';
    const slowBody = openPeer(
      `POST /v1/debits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${service.operatorKey}\r\n${body}`,
    );
    const refused = openPeer(`POST /v1/debits HTTP/1.1\r\nhost: x\r\n${body}`);
    await eventually('they are open', async () => (await countConnections(server)) === 4);
    await eventually('they are closed by the server', async () => (await countConnections(server)) === 0, 20);
    expect(silent.received).toBe('');
    expect(slowHeaders.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(slowBody.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(refused.received).toMatch(/^HTTP\/1\.1 401 /);
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    server.requestTimeout = REQUEST_TIMEOUT_MS;
  }, 40_000);

  it('stay open for the answer to a paid call, when the headers of the next request do not come', async () => {
    const { apiKey } = await service.createCustomer({ grantMicros: 1_000_000n });
    server.headersTimeout = 500;
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const body = bodyOf(1);
    const refused = once(server, 'clientError');
    const peer = openPeer(
      `POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n` +
        `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}` +
        'GET /v1/wallet HTTP/1.1\r\nhost: x\r\nx-',
    );
    expect(await refused).toMatchObject([{ code: 'ERR_HTTP_REQUEST_TIMEOUT' }, {}]);
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    await eventually('the connection is closed', () => peer.closed);
    expect(peer.received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
    expect(peer.received).toContain('x-charged-micros: 40000\r\n');
  }, 40_000);

  it('with a body on its way, of a key that is revoked before it has come, are answered that it is revoked', async () => {
    const account = (await service.createCustomer()).accountId;
    const made = await service.operator.post('/v1/operator_keys', {
      name: 'short-lived',
      scopes: ['debits'],
    });
    const { id, secret } = made.expect(201).body as { id: string; secret: string };
    const body = JSON.stringify({ account, reference: 'slow', amount_micros: '1' });
    const head = `POST /v1/debits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\ncontent-type: application/json\r\n`;
    const decide = jest.spyOn(service.app.get<AuthGuard>(AuthGuard), 'decide');
    const peer = openPeer(`${head}content-length: ${body.length}\r\n\r\n${body.slice(0, 5)}`);
    await eventually('the key was let in', () => decide.mock.calls.length > 0);
    decide.mockRestore();
    const decidedAtMs = performance.now();
    (await service.operator.delete(`/v1/operator_keys/${id}`)).expect(200);
    await eventually('the decision is old', () => performance.now() > decidedAtMs + DECISION_GOOD_FOR_MS);
    peer.socket.write(body.slice(5));
    await eventually('an answer', () => peer.received.endsWith('}'));
    expect(peer.received).toMatch(/^HTTP\/1\.1 401 [^]*revoked_api_key/);
  });
});

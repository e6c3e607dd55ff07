import type { Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { AuthGuard, DECISION_GOOD_FOR_MS } from '../../src/auth/auth.guard.js';
import { HEADERS_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from '../../src/http/connection-limits.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { eventually } from '../support/processes.js';

const CONNECTIONS_MAX = 20;

let service: TestApp;
let server: Server;
beforeAll(async () => {
  service = await startTestApp({ settings: { httpConnectionsMax: CONNECTIONS_MAX } });
  server = service.app.getHttpServer();
});
afterAll(() => service.close());

const open: Peer[] = [];
beforeEach(() => eventually('all connections are closed', async () => (await connectionsOf(server)) === 0));
afterEach(() => open.splice(0).forEach(({ socket }) => socket.destroy()));

/** A peer that never ends its side of the connection by itself. */
class Peer {
  readonly socket: Socket;
  received = '';
  closed = false;

  constructor(bytes: string) {
    const { port, hostname } = new URL(service.url);
    this.socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true }, () => {
      if (bytes !== '') this.socket.write(bytes);
    });
    this.socket.on('data', (chunk: Buffer) => (this.received += chunk.toString()));
    // Only the other side has ended: this one never does.
    this.socket.on('end', () => (this.closed = true));
    this.socket.on('error', () => (this.closed = true));
    open.push(this);
  }
}

function connectionsOf(http: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    http.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

describe('the connections of a process', () => {
  it('are closed when they are silent, or slow with their headers or their body, and whatever the peer does then', async () => {
    expect({ headers: server.headersTimeout, request: server.requestTimeout }).toEqual({
      headers: HEADERS_TIMEOUT_MS,
      request: REQUEST_TIMEOUT_MS,
    });
    server.headersTimeout = 500;
    server.requestTimeout = 500;
    const silent = new Peer('');
    const slowHeaders = new Peer('POST /v1/debits HTTP/1.1\r\nhost: x\r\nx-');
    const body = 'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{';
    const slowBody = new Peer(
      `POST /v1/debits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${service.operatorKey}\r\n${body}`,
    );
    const refused = new Peer(`POST /v1/debits HTTP/1.1\r\nhost: x\r\n${body}`);
    await eventually('they are open', async () => (await connectionsOf(server)) === 4);
    await eventually('they are closed by the server', async () => (await connectionsOf(server)) === 0, 20);
    expect(silent.received).toBe('');
    expect(slowHeaders.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(slowBody.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(refused.received).toMatch(/^HTTP\/1\.1 401 /);
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    server.requestTimeout = REQUEST_TIMEOUT_MS;
  }, 40_000);

  it('are no more than the operator allows: one more is closed at once, and the others go on', async () => {
    const peers = Array.from({ length: CONNECTIONS_MAX }, () => new Peer(''));
    await eventually('they are open', async () => (await connectionsOf(server)) === CONNECTIONS_MAX);
    const oneMore = new Peer('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually('it is closed', () => oneMore.closed);
    expect(oneMore.received).toBe('');
    const [first, second] = peers;
    first?.socket.write('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually('an answer', () => first?.received.startsWith('HTTP/1.1 200 ') === true);
    second?.socket.destroy();
    await eventually('one is closed', async () => (await connectionsOf(server)) === CONNECTIONS_MAX - 1);
    const next = new Peer('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually('an answer', () => next.received.startsWith('HTTP/1.1 200 '));
  });

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
    const peer = new Peer(`${head}content-length: ${body.length}\r\n\r\n${body.slice(0, 5)}`);
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

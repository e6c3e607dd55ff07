import type { Server } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { UNUSED_MS } from '../../src/platform/http/connections.js';
import { countConnections, Peer } from '../support/app/peer.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { bodyOf } from '../support/images/unread-answers.js';
import { eventually } from '../support/processes.js';

const CONNECTIONS_MAX = 20;
/** An address that is alone has as many connections as it leaves free. */
const HALF = CONNECTIONS_MAX / 2;
const GREEDY = '127.0.0.2';
const OTHER = '127.0.0.3';
/** Trusted, as one of a block. */
const PROXY = '127.0.0.9';
const HEALTH = 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n';
const ANSWERED = 'HTTP/1.1 200 ';

let service: TestApp;
let server: Server;
let customer: TestCustomer;
/** How many requests the server has begun with. */
let requests = 0;
beforeAll(async () => {
  const settings = { httpConnectionsMax: CONNECTIONS_MAX, trustedProxies: ['127.0.0.8/30'] };
  service = await startTestApp({ blackForestLabs: true, settings });
  server = service.app.getHttpServer();
  server.on('request', () => (requests += 1));
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
  server.closeIdleConnections();
});
afterAll(() => service.close());

const open: Peer[] = [];
beforeEach(() =>
  eventually('all connections are closed', async () => (await countConnections(server)) === 0),
);
afterEach(() => open.splice(0).forEach(({ socket }) => socket.destroy()));

function openPeer(from: string, bytes = HEALTH): Peer {
  const peer = new Peer(service.url, bytes, from);
  open.push(peer);
  return peer;
}

async function openAnswered(from: string): Promise<Peer> {
  const peer = openPeer(from);
  await eventually('it is answered', () => peer.received.startsWith(ANSWERED));
  return peer;
}

/** Opens one after the other, so that their order is known. */
async function openAllAnswered(from: string, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  while (peers.length < count) peers.push(await openAnswered(from));
  return peers;
}

/** Its request is begun and lasts until the test sends the rest of its body; null when it is refused. */
async function openBusy(from: string): Promise<Peer | null> {
  const before = requests;
  const peer = openPeer(
    from,
    `POST /v1/debits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${service.operatorKey}\r\n` +
      'content-type: application/json\r\ncontent-length: 2\r\n\r\n{',
  );
  await eventually('its request is begun, or it is refused', () => requests > before || peer.closed);
  return peer.closed ? null : peer;
}

async function openAllBusy(from: string): Promise<Peer[]> {
  const peers: Peer[] = [];
  for (let peer = await openBusy(from); peer !== null; peer = await openBusy(from)) peers.push(peer);
  return peers;
}

async function finish(peer: Peer): Promise<void> {
  peer.socket.write('}');
  await eventually('it is answered', () => peer.received.startsWith('HTTP/1.1 400 '));
}

async function expectRefused(from: string): Promise<void> {
  const peer = openPeer(from);
  await eventually('it is closed', () => peer.closed);
  expect(peer.received).toBe('');
}

describe('the connections of a process', () => {
  it('are no more than the operator allows: one more is closed at once while requests run on all of them', async () => {
    const busy = await openAllBusy(PROXY);
    expect(busy).toHaveLength(CONNECTIONS_MAX);
    await expectRefused(PROXY);
    await expectRefused(OTHER);
    busy[1]?.socket.destroy();
    await eventually('it is closed', async () => (await countConnections(server)) < CONNECTIONS_MAX);
    await openAnswered(OTHER);
  });
});

describe('an address that holds all connections open leaves room for others', () => {
  it('when they idle after a small request each', async () => {
    const greedy = Array.from({ length: 2 * CONNECTIONS_MAX }, () => openPeer(GREEDY));
    await eventually('each is answered or closed', () =>
      greedy.every(({ received, closed }) => received !== '' || closed),
    );
    const others = await openAllAnswered(OTHER, CONNECTIONS_MAX / 3);
    // Nothing was closed for them: there was room.
    expect(await countConnections(server)).toBeLessThanOrEqual(CONNECTIONS_MAX);
    expect(others.some(({ closed }) => closed)).toBe(false);
  });

  it('when they never send a byte', async () => {
    const greedy = Array.from({ length: 2 * CONNECTIONS_MAX }, () => openPeer(GREEDY, ''));
    await eventually('all but half are closed', () => greedy.filter(({ closed }) => closed).length > HALF);
    await openAllAnswered(OTHER, CONNECTIONS_MAX / 3);
  });

  it('when requests run on all of them: it is refused more than half, whatever it does', async () => {
    expect(await openAllBusy(GREEDY)).toHaveLength(HALF);
    await openAllAnswered(OTHER, HALF / 2);
    expect(await openBusy(GREEDY)).toBeNull();
    // Also when others join in: what is left is shared evenly.
    await openAllBusy('127.0.0.4');
    await openAnswered('127.0.0.5');
  });
});

describe('to make room', () => {
  it('a connection whose request runs is never closed to make room', async () => {
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const body = bodyOf(1);
    const call = openPeer(
      GREEDY,
      `POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${customer.apiKey}\r\n` +
        `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually(
      'the provider works',
      () => (service.blackForestLabs?.control.counts().submits ?? 0) > 0,
    );
    const slow = await openBusy(GREEDY);
    // Every idle connection is displaced many times over, of this address and of others.
    const others = ['127.0.0.4', '127.0.0.5', '127.0.0.6'];
    for (const from of [GREEDY, ...others, GREEDY, PROXY]) await openAllAnswered(from, CONNECTIONS_MAX);
    expect(call.closed || slow?.closed).toBe(false);
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    await eventually('the call is answered', () => call.received.startsWith(ANSWERED));
    await finish(slow as Peer);
  });

  it('the connection that has been idle longest is closed, of the address that has the most', async () => {
    const [few] = await openAllAnswered(OTHER, 2);
    const greedy = await openAllAnswered(GREEDY, CONNECTIONS_MAX / 2 - 1);
    const [first, second, third] = greedy;
    const received = first?.received.length ?? 0;
    first?.socket.write(HEALTH);
    await eventually('it is answered again', () => (first?.received.length ?? 0) > received);
    await openAllAnswered(PROXY, CONNECTIONS_MAX / 2);
    await eventually('one is closed', () => second?.closed === true);
    expect([few, first, third].map((peer) => peer?.closed)).toEqual([false, false, false]);
    await openAnswered('127.0.0.4');
    await eventually('the next one is closed', () => third?.closed === true);
    expect([few, first].map((peer) => peer?.closed)).toEqual([false, false]);
  });

  it('connections that have never brought a request are closed first, also of addresses with one each', async () => {
    const addresses = Array.from({ length: CONNECTIONS_MAX - 1 }, (_, index) => `127.0.1.${index + 1}`);
    const [used, ...silent] = addresses.map((from, index) => openPeer(from, index === 0 ? HEALTH : 'GET'));
    await eventually('all are open', async () => (await countConnections(server)) === addresses.length);
    await eventually('one is answered', () => used?.received.startsWith(ANSWERED) === true);
    service.clock.letPass(UNUSED_MS);
    await openAllAnswered(OTHER, HALF / 2);
    expect(silent.some(({ closed }) => closed)).toBe(true);
    expect(used?.closed).toBe(false);
  });

  it('nothing of an address with few connections is closed for one with many', async () => {
    const few = await openAllAnswered(OTHER, 3);
    const [oldest] = await openAllAnswered(GREEDY, CONNECTIONS_MAX);
    await openAllBusy(GREEDY);
    expect(oldest?.closed).toBe(true);
    expect(few.some(({ closed }) => closed)).toBe(false);
  });
});

describe('a trusted proxy has no share', () => {
  it('it may use all connections, and takes the place of idle ones of others', async () => {
    const idle = await openAllAnswered(OTHER, HALF / 2);
    expect(await openAllBusy(PROXY)).toHaveLength(CONNECTIONS_MAX);
    await eventually('they are closed', () => idle.every(({ closed }) => closed));
  });

  it('its own idle connections are closed last, for itself and for an address that has none, such as a health check', async () => {
    const [first, second, third] = await openAllAnswered(PROXY, CONNECTIONS_MAX);
    await openAnswered(PROXY);
    await eventually('its longest idle one is closed', () => first?.closed === true);
    const check = await openAnswered(OTHER);
    await eventually('the next one is closed', () => second?.closed === true);
    await openAnswered(OTHER);
    await eventually('that address makes room itself', () => check.closed);
    expect(third?.closed).toBe(false);
  });
});

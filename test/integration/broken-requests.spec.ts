import { once } from 'node:events';
import type { Server } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { balancesOf, generate, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, type SharedApp } from '../fixtures/shared-app.js';
import { Peer } from '../support/app/peer.js';
import type { TestCustomer } from '../support/app/test-app.js';
import { bodyOf, enlargeImages } from '../support/images/unread-answers.js';
import { eventually } from '../support/processes.js';

const GARBAGE = '\r\nNO HTTP\r\n\r\n';
const HEALTH = 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n';
/** Without a key it is answered at once, with 401. */
const BAD_CHUNK = '\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n';
/** Far more than the kernel takes for a peer that does not read. */
const LARGE_BYTES = 12_000_000;

let service: SharedApp;
let server: Server;
let customer: TestCustomer;
const open: Peer[] = [];
beforeAll(async () => {
  service = await sharedApp();
  server = service.app.getHttpServer();
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
});
afterEach(() => {
  service.blackForestLabs?.control.setLatencyMs(0);
  service.upstreamClock.reset();
  for (const { socket } of open.splice(0)) socket.destroy();
});
afterAll(() => expectBooksToBalance(service.dataSource));

function openPeer(bytes: string): Peer {
  const peer = new Peer(service.url, bytes);
  open.push(peer);
  return peer;
}

/** The status of each answer, once the connection is closed. */
async function answersTo(bytes: string): Promise<string[]> {
  return answersOf(openPeer(bytes));
}

async function answersOf(peer: Peer): Promise<string[]> {
  await eventually('the connection is closed', () => peer.closed);
  return [...peer.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status = '']) => status);
}

function imageCall(headers = '', images = 1): string {
  const body = bodyOf(images);
  return (
    `POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${customer.apiKey}\r\n${headers}` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  );
}

describe('bytes that are no request', () => {
  it.each([
    ['in the same packet', (call: string) => [call + GARBAGE]],
    ['later', (call: string) => [call, GARBAGE]],
    ['again and again', (call: string) => [call, GARBAGE, GARBAGE, GARBAGE]],
    ['with too large headers', (call: string) => [call, `GET / HTTP/1.1\r\nx: ${'x'.repeat(40_000)}`]],
  ])('leave the answer to a paid call as it is, with what was charged: sent %s', async (_when, toParts) => {
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const before = await balancesOf(customer);
    const submits = service.blackForestLabs?.control.counts().submits ?? 0;
    const [call = '', ...garbage] = toParts(imageCall());
    const peer = openPeer(call);
    await eventually(
      'the provider works',
      () => (service.blackForestLabs?.control.counts().submits ?? 0) > submits,
    );
    for (const [index, part] of garbage.entries()) {
      const refused = once(server, 'clientError');
      peer.socket.write(part);
      if (index === 0) await refused;
    }
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    expect(await answersOf(peer)).toEqual(['200']);
    expect(peer.received).toContain(`x-charged-micros: ${PRICE_MICROS}\r\n`);
    expect(peer.received).toMatch(/\r\nconnection: close\r\n/i);
    expect(JSON.parse(peer.received.slice(peer.received.indexOf('{')))).toMatchObject({ data: [{}] });
    expect(await balancesOf(customer)).toMatchObject({ available: before.available - PRICE_MICROS });
  });

  it('are not answered in the middle of an answer that is being sent', async () => {
    const headers = { 'idempotency-key': 'large' };
    const first = await generate(customer, JSON.parse(bodyOf(1)), headers);
    const id = String(first.expect(200).headers.get('x-generation-id'));
    await enlargeImages(service.settings.dataDir, id, 1, LARGE_BYTES);
    const peer = openPeer(imageCall('idempotency-key: large\r\n'));
    await once(peer.socket, 'data');
    peer.socket.pause();
    const refused = once(server, 'clientError');
    peer.socket.write(GARBAGE);
    await refused;
    peer.socket.resume();
    expect(await answersOf(peer)).toEqual(['200']);
    const [head = '', body = ''] = peer.received.split('\r\n\r\n');
    expect(body).toHaveLength(Number(/^content-length: (\d+)/im.exec(head)?.[1]));
    const { data } = JSON.parse(body) as { data: [{ b64_json: string }] };
    expect(Buffer.byteLength(data[0].b64_json, 'base64')).toBe(LARGE_BYTES);
  });

  it('are answered with nothing after the answers to the requests before them, in their order', async () => {
    const missing = HEALTH.replace('live', 'none');
    expect(await answersTo(HEALTH + missing + HEALTH + GARBAGE)).toEqual(['200', '404', '200']);
  });

  it('are answered with 400 where no answer is under way, also on a connection that was used before', async () => {
    expect(await answersTo(GARBAGE)).toEqual(['400']);
    const peer = openPeer(HEALTH);
    await eventually('it is answered', () => peer.received.endsWith('}'));
    peer.socket.write(GARBAGE);
    expect(await answersOf(peer)).toEqual(['200', '400']);
  });
});

describe('a request whose body is malformed', () => {
  const key = () => `authorization: Bearer ${customer.apiKey}\r\n`;

  it.each([
    ['a bad first chunk', BAD_CHUNK],
    ['a bad later chunk', BAD_CHUNK.replace('zz', '1\r\n{\r\nzz')],
    ['an unknown encoding', '\r\ntransfer-encoding: gzip\r\n\r\n{}'],
    ['a bad chunk of a type that no route takes', `\r\ncontent-type: text/plain${BAD_CHUNK}`],
    ['a bad chunk and an unknown expectation', `\r\nexpect: x${BAD_CHUNK}`],
  ])('has one answer: %s', async (_what, rest) => {
    const quote = 'POST /v1/quotes HTTP/1.1\r\nhost: x';
    expect(await answersTo(quote + rest)).toHaveLength(1);
    expect(await answersTo(`${quote}\r\nauthorization: Bearer ${customer.apiKey}${rest}`)).toHaveLength(1);
  });

  it('is answered so that a client can read it that first sends everything', async () => {
    const peer = openPeer('');
    peer.socket.pause();
    const head = `POST /v1/quotes HTTP/1.1\r\nhost: x\r\n${key()}content-type: application/json`;
    peer.socket.write(head + BAD_CHUNK);
    peer.socket.write(Buffer.alloc(8_000_000));
    await eventually('everything is sent', () => peer.socket.writableLength === 0);
    peer.socket.resume();
    expect(await answersOf(peer)).toEqual(['400']);
  });

  it('is answered with 400 in its position, after the answer to the earlier request', async () => {
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const refused = once(server, 'clientError');
    const broken = `POST /v1/quotes HTTP/1.1\r\nhost: x\r\n${key()}content-type: application/json${BAD_CHUNK}`;
    const peer = openPeer(imageCall() + broken);
    await refused;
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    expect(await answersOf(peer)).toEqual(['200', '400']);
    expect(peer.received).toContain(`x-charged-micros: ${PRICE_MICROS}\r\n`);
  });
});

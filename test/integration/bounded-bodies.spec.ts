import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { BODY_BYTES_MAX, PIECES_MAX } from '../../src/platform/http/request-bodies.js';
import { capturedMicros, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { Peer } from '../support/app/peer.js';
import { form, FORM_TYPE, image, noise } from '../support/images/edit-bodies.js';
import { dataUrl, EditSender, FIELDS, picture } from '../support/images/edits.js';
import { eventually, nextTurn } from '../support/processes.js';

let app: SharedShop;
const peers: Peer[] = [];

beforeAll(async () => {
  app = await sharedShop();
});
afterAll(() => {
  for (const { socket } of peers) socket.destroy();
});

/** A body of so many chunks of one byte, which all together are JSON. */
function request(path: string, headers: string, chunks: number): string {
  const body = `"${'x'.repeat(chunks - 2)}"`;
  const framed = [...body].map((byte) => `1\r\n${byte}\r\n`).join('');
  return `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${headers}transfer-encoding: chunked\r\n\r\n${framed}0\r\n\r\n`;
}

async function answerTo(bytes: string): Promise<Peer> {
  const peer = new Peer(app.url, bytes);
  peers.push(peer);
  await eventually('the request is answered', () => /"code":"[a-z_]+"/.test(peer.received));
  return peer;
}

describe('a body in chunks of one byte', () => {
  it.each([
    ['of a customer', '/v1/quotes', true],
    ['of an edit', '/v1/images/edits', true],
    ['that claims to come from Stripe', '/webhooks/stripe', false],
  ])(
    'is refused, and its connection closed, as soon as they are too many: one %s',
    async (_whose, path, isKeyed) => {
      const { apiKey } = await app.createCustomer();
      const key = isKeyed ? `authorization: Bearer ${apiKey}\r\n` : 'stripe-signature: t=1,v1=00\r\n';
      const peer = await answerTo(request(path, key, 10 * PIECES_MAX));
      expect(peer.received).toContain('400 Bad Request');
      expect(peer.received).toContain('too many small chunks');
      await eventually('the connection is closed', () => peer.closed);
    },
  );

  it('is read as any other when they are not so many', async () => {
    const { apiKey } = await app.createCustomer();
    const key = `authorization: Bearer ${apiKey}\r\n`;
    const peer = await answerTo(request('/v1/quotes', key, PIECES_MAX));
    expect(peer.received).not.toContain('too many small chunks');
    expect(peer.received).not.toContain('malformed_http');
  });
});

describe('a body that is refused for its small chunks', () => {
  it('never looks whole to its route, although its last chunk has come: nothing is charged', async () => {
    const service = await sharedApp();
    const customer = await service.createCustomer({ grantMicros: 10n * PRICE_MICROS });
    const edit = { model: MODEL, prompt: 'a fox', images: [{ image_url: dataUrl(picture(0)) }] };
    const text = JSON.stringify(edit).padEnd(PIECES_MAX + 500);
    const framed = [...text].map((byte) => `1\r\n${byte}\r\n`).join('');
    const peer = new Peer(
      service.url,
      `POST /v1/images/edits HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n` +
        `authorization: Bearer ${customer.apiKey}\r\ntransfer-encoding: chunked\r\n\r\n${framed}0\r\n\r\n`,
    );
    peers.push(peer);
    await eventually('the connection is closed', () => peer.closed);
    expect(peer.received).toContain('400 Bad Request');
    (await new EditSender(service.url, customer.apiKey).json(edit)).expect(200);
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });
});

describe('the rest of a body whose request was refused', () => {
  const refused = (framing: string) =>
    answerTo(`POST /v1/quotes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`);
  const chunkedBody = 'transfer-encoding: chunked';

  async function sendUntilClosed(peer: Peer, bytes: Buffer, times: number): Promise<void> {
    for (let time = 0; time < times && !peer.closed; time += 1) {
      if (!peer.socket.write(bytes)) {
        await eventually('it takes more, or is closed', () => !peer.socket.writableNeedDrain || peer.closed);
      }
      await nextTurn();
    }
    await eventually('the connection is closed', () => peer.closed);
    // Refused once, before the rest came.
    expect(peer.received.match(/HTTP\/1\.1 \d+/g)).toHaveLength(1);
  }

  it('ends the connection when it comes in very many small chunks', async () => {
    const peer = await refused(chunkedBody);
    await sendUntilClosed(peer, Buffer.from('1\r\n \r\n'.repeat(1_000)), (2 * PIECES_MAX) / 1_000);
  });

  it.each([chunkedBody, 'content-length: 100000000000'])(
    'ends the connection when it is larger than any route takes: with %s',
    async (framing) => {
      const peer = await refused(framing);
      const chunk = Buffer.from(`10000\r\n${' '.repeat(0x10000)}\r\n`);
      await sendUntilClosed(peer, chunk, BODY_BYTES_MAX / 0x10000 + 100);
    },
  );

  it('is read to its end otherwise, and its connection serves the next request', async () => {
    const peer = await refused(chunkedBody);
    for (const chunk of chunked(Buffer.alloc(BODY_BYTES_MAX / 2), 65_536)) {
      if (!peer.socket.write(chunk)) await once(peer.socket, 'drain');
    }
    peer.socket.write('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually('it is answered', () => peer.received.includes('HTTP/1.1 200 '));
  });
});

/** The payload of a packet on an ordinary line. */
const PACKET_BYTES = 1_448;

function* chunked(body: Buffer, chunkBytes: number): Generator<Buffer> {
  for (let at = 0; at < body.length; at += chunkBytes) {
    const chunk = body.subarray(at, at + chunkBytes);
    yield Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')]);
  }
  yield Buffer.from('0\r\n\r\n');
}

describe('an upload of many megabytes in chunks that no packet ends with', () => {
  it.each([300, 1_400, 2_048])('is taken as any other: chunks of %i bytes', async (chunkBytes) => {
    const service = await sharedApp();
    const { apiKey } = await service.createCustomer({ grantMicros: 1_000_000n });
    const large = await noise(1_600, 1_500).png({ compressionLevel: 0 }).toBuffer();
    const body = form([...FIELDS, ...[0, 1, 2, 3].map(() => image(large, 'image[]'))]);
    const head =
      `POST /v1/images/edits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n` +
      `content-type: ${FORM_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n`;
    const bytes = Buffer.concat([Buffer.from(head), ...chunked(body, chunkBytes)]);
    const peer = new Peer(service.url, '');
    peers.push(peer);
    for (let at = 0; at < bytes.length && peer.received === ''; at += PACKET_BYTES) {
      // A packet is read in the turn after it was written, and so by itself.
      peer.socket.write(bytes.subarray(at, at + PACKET_BYTES));
      await nextTurn();
    }
    await eventually('the edit is answered', () => peer.received.includes('\r\n\r\n'));
    expect(peer.received).toMatch(/^HTTP\/1\.1 200 /);
  });
});

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SMALL_CHUNKS_MAX } from '../../src/http/small-chunks.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { Peer } from '../support/app/peer.js';
import { eventually } from '../support/processes.js';

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
      const peer = await answerTo(request(path, key, 10 * SMALL_CHUNKS_MAX));
      expect(peer.received).toContain('400 Bad Request');
      expect(peer.received).toContain('too many small chunks');
      await eventually('the connection is closed', () => peer.closed);
    },
  );

  it('is read as any other when they are not so many', async () => {
    const { apiKey } = await app.createCustomer();
    const key = `authorization: Bearer ${apiKey}\r\n`;
    const peer = await answerTo(request('/v1/quotes', key, SMALL_CHUNKS_MAX));
    expect(peer.received).not.toContain('too many small chunks');
    expect(peer.received).not.toContain('malformed_http');
  });
});

import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { AnswerMemory } from '../../src/gateway/images/calls/answer-memory.js';
import { CHECKS_WITHOUT_PROGRESS_MAX, StalledPeers } from '../../src/platform/http/connections.js';
import { generate } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { bodyOf, enlargeImages, neverRead } from '../support/images/unread-answers.js';
import { eventually, nextTurn } from '../support/processes.js';

const IMAGES = 2;
/** Far more than the kernel takes for a peer that does not read. */
const LARGE_BYTES = 12_000_000;

let service: TestApp;
let peers: StalledPeers;
let memory: AnswerMemory;
let customer: TestCustomer;
const open: Socket[] = [];
beforeAll(async () => {
  const check = jest.spyOn(StalledPeers.prototype, 'check');
  service = await startTestApp({ blackForestLabs: true });
  memory = service.app.get(AnswerMemory);
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
  // Other servers of this process, such as those of the tests before, check theirs as well.
  const port = Number(new URL(service.url).port);
  open.push(connect(port, '127.0.0.1'));
  const isOurs = (watched: StalledPeers): boolean =>
    [...watched['connections'].keys()].some(({ localPort }) => localPort === port);
  const ours = (): StalledPeers | undefined => (check.mock.contexts as StalledPeers[]).find(isOurs);
  await eventually('the service checks its peers by itself', () => ours() !== undefined);
  peers = ours() as StalledPeers;
  check.mockRestore();
});
afterEach(() => open.splice(0).forEach((socket) => socket.destroy()));
afterAll(() => service.close());

describe('a peer that takes nothing of its answer', () => {
  it('loses its connection, and what its answer held is given back', async () => {
    const headers = { 'idempotency-key': 'large' };
    const path = '/v1/images/generations';
    const made = (await customer.client.post(path, JSON.parse(bodyOf(IMAGES)), headers)).expect(200);
    const id = String(made.headers.get('x-generation-id'));
    await enlargeImages(service.settings.dataDir, id, IMAGES, LARGE_BYTES);
    const { apiKey } = customer;
    open.push(neverRead(service.url, { apiKey, idempotencyKey: 'large', images: IMAGES }));
    await eventually('its answer is under way', () => memory.bytes > 0);
    await eventually('its answer has ended', () => {
      peers.check();
      return memory.bytes === 0;
    });
    // One that reads has all of it, however long that takes as a whole.
    const { data } = (await customer.client.post(path, JSON.parse(bodyOf(IMAGES)), headers)).expect(200)
      .body as { data: { b64_json: string }[] };
    expect(data.map(({ b64_json: image }) => Buffer.byteLength(image, 'base64'))).toEqual([
      LARGE_BYTES,
      LARGE_BYTES,
    ]);
  });

  it('is distinguished from one whose call takes long, which keeps its connection', async () => {
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const answer = generate(customer);
    await eventually(
      'the provider works',
      () => (service.blackForestLabs?.control.counts().submits ?? 0) > 1,
    );
    for (let check = 0; check < 10 * CHECKS_WITHOUT_PROGRESS_MAX; check += 1) {
      peers.check();
      await nextTurn();
    }
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    (await answer).expect(200);
  });
});

import type { Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { AnswerMemory, STREAM_BYTES } from '../../src/gateway/images/calls/answer-memory.js';
import { MEDIA_STORE, type MediaStore } from '../../src/gateway/images/media/media-store.js';
import { aCustomer } from '../fixtures/customers.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { bodyOf, enlargeImages, neverRead } from '../support/images/unread-answers.js';
import { eventually } from '../support/processes.js';

/** More than the kernel takes for a peer that does not read. */
const LARGE_BYTES = 12_000_000;
const IMAGES = 2;

let service: TestApp;
let memory: AnswerMemory;
beforeAll(async () => {
  service = await sharedApp();
  memory = service.app.get(AnswerMemory);
});

const open: Socket[] = [];
afterEach(async () => {
  jest.restoreAllMocks();
  open.splice(0).forEach((socket) => socket.destroy());
  await eventually('no answer is under way', () => memory.bytes === 0);
});

const call = ({ client }: TestCustomer, idempotencyKey = 'the-call', images = IMAGES): Promise<TestAnswer> =>
  client.post('/v1/images/generations', JSON.parse(bodyOf(images)), { 'idempotency-key': idempotencyKey });

/** A call that has been answered, and whose images weigh much in the store. */
async function aLargeAnswer(concurrentCalls = 100): Promise<TestCustomer> {
  const customer = await aCustomer().withCredit('10.00').create();
  const limits = { concurrent_requests: concurrentCalls, reason: 'a test' };
  const path = `/v1/accounts/${customer.accountId}/limits`;
  (await service.operator.send('PUT', path, { body: limits })).expect(200);
  const answer = (await call(customer)).expect(200);
  const id = String(answer.headers.get('x-generation-id'));
  await enlargeImages(service.settings.dataDir, id, IMAGES, LARGE_BYTES);
  return customer;
}

function unread({ apiKey }: TestCustomer): Socket {
  const socket = neverRead(service.url, { apiKey, idempotencyKey: 'the-call', images: IMAGES });
  open.push(socket);
  return socket;
}

describe('an answer with images in it', () => {
  it('has the same bytes and length whether it is sent from memory or from the store', async () => {
    const customer = await aCustomer().withCredit('10.00').create();
    const fromMemory = (await call(customer, 'memory', 3)).expect(200);
    const replayed = (await call(customer, 'memory', 3)).expect(200);
    expect(replayed.body).toEqual(fromMemory.body);
    expect(replayed.headers.get('content-length')).toBe(fromMemory.headers.get('content-length'));
    const reserve = memory.reserve.bind(memory);
    jest
      .spyOn(memory, 'reserve')
      .mockImplementation((account) => ({ ...reserve(account), tryKeep: () => false }));
    const fromStore = (await call(customer, 'store', 3)).expect(200);
    for (const { b64_json: image } of fromStore.body.data as { b64_json: string }[]) {
      expect(Buffer.from(image, 'base64').subarray(1, 4).toString()).toBe('PNG');
    }
    jest.restoreAllMocks();
    const again = (await call(customer, 'store', 3)).expect(200);
    expect(again.body).toEqual(fromStore.body);
    expect(again.headers.get('content-length')).toBe(fromStore.headers.get('content-length'));
  });

  it('whose image fails in the middle breaks off, so that no client takes it for whole; a retry gets it', async () => {
    const customer = await aLargeAnswer();
    const store = service.app.get<MediaStore>(MEDIA_STORE);
    const openImage = store.open.bind(store);
    const spy = jest
      .spyOn(store, 'open')
      .mockImplementation((name) => (name.position === 1 ? Promise.resolve(null) : openImage(name)));
    await expect(call(customer)).rejects.toThrow();
    spy.mockRestore();
    const { data } = (await call(customer)).expect(200).body as { data: { b64_json: string }[] };
    expect(data.map(({ b64_json: image }) => Buffer.byteLength(image, 'base64'))).toEqual([
      LARGE_BYTES,
      LARGE_BYTES,
    ]);
  });
});

describe('answers that no client reads', () => {
  it('hold a few pieces each, never their images, and give them back with their connection', async () => {
    const customer = await aLargeAnswer();
    const before = process.memoryUsage().arrayBuffers;
    for (let index = 0; index < 20; index += 1) unread(customer);
    await eventually('all are under way', () => memory.bytes === 20 * STREAM_BYTES);
    await eventually('all have begun', () => open.every(({ bytesRead }) => bytesRead > 0));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000_000);
    open.splice(0).forEach((socket) => socket.destroy());
    await eventually('all is given back', () => memory.bytes === 0);
  });

  it('keep their slot of the calls at the same time until they are read, or their connection has ended', async () => {
    const customer = await aLargeAnswer(1);
    const socket = unread(customer);
    await eventually('it has begun', () => socket.bytesRead > 0);
    const refused = (await call(customer, 'another', 1)).expect(429);
    expect(refused.body.error).toMatchObject({ code: 'concurrency_limit_exceeded', charged_micros: '0' });
    socket.destroy();
    await eventually('the slot is free', async () => (await call(customer, 'another', 1)).status === 200);
  });

  it('of replays beyond the limit are a few, so that a replay is no way around it', async () => {
    const customer = await aLargeAnswer(1);
    for (let index = 0; index < 11; index += 1) unread(customer);
    await eventually('eleven have begun', () => open.every(({ bytesRead }) => bytesRead > 0));
    expect((await call(customer)).expect(429).body.error).toMatchObject({
      code: 'concurrency_limit_exceeded',
    });
    open.pop()?.destroy();
    await eventually('one more may be fetched', async () => (await call(customer)).status === 200);
  });
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { generate } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { EditSender, picture } from '../support/images/edits.js';
import { eventually } from '../support/processes.js';

/** A host of images, and how often it was asked for one. */
const host = createServer((_request, response) => {
  fetched += 1;
  response.writeHead(200, { 'content-type': 'image/png' }).end(picture(0));
});
let fetched = 0;
let service: TestApp;

beforeAll(async () => {
  await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
  service = await startTestApp({ blackForestLabs: true, settings: { webhookLoopback: true } });
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.close();
  host.close();
});

/** An edit of the image at our host: its answer, and whether the image was fetched. */
async function edit({ apiKey }: TestCustomer, body: object = {}, headers: Record<string, string> = {}) {
  const before = fetched;
  const images = [{ image_url: `http://127.0.0.1:${(host.address() as AddressInfo).port}/` }];
  const answer = await new EditSender(service.url, apiKey).json({ images, ...body }, { headers });
  return { status: answer.status, code: answer.body.error?.code, fetched: fetched - before, answer };
}

async function limit({ accountId }: TestCustomer, numbers: object): Promise<void> {
  const body = { reason: 'a test', ...numbers };
  (await service.operator.send('PUT', `/v1/accounts/${accountId}/limits`, { body })).expect(200);
}

describe('the image of an edit by URL', () => {
  it('is fetched for an edit that is made', async () => {
    const customer = await aCustomer().withCredit('1.00').create(service);
    expect(await edit(customer)).toMatchObject({ status: 200, fetched: 1 });
  });

  it('is not fetched for an account without credit', async () => {
    const customer = await aCustomer().create(service);
    expect(await edit(customer)).toMatchObject({ status: 402, code: 'insufficient_credits', fetched: 0 });
  });

  it('is not fetched when the account may make no more images in this minute, and costs nothing', async () => {
    const customer = await aCustomer().withCredit('1.00').create(service);
    await limit(customer, { images_per_minute: 1 });
    const refused = await edit(customer, { n: 2 });
    expect(refused).toMatchObject({ status: 429, code: 'rate_limit_exceeded', fetched: 0 });
    expect(refused.answer.headers.get('x-charged-micros')).toBe('0');
    expect(await edit(customer)).toMatchObject({ status: 200, fetched: 1 });
    expect(await edit(customer)).toMatchObject({ status: 429, fetched: 0 });
  });

  it('is not fetched while as many calls run as may run at the same time', async () => {
    const customer = await aCustomer().withCredit('1.00').create(service);
    await limit(customer, { concurrent_requests: 1 });
    service.upstreamClock.stop();
    service.blackForestLabs?.control.setLatencyMs(1);
    const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;
    const before = submits();
    const running = generate(customer);
    await eventually('a call runs', () => submits() > before);
    const refused = await edit(customer);
    service.blackForestLabs?.control.setLatencyMs(0);
    service.upstreamClock.reset();
    (await running).expect(200);
    expect(refused).toMatchObject({ status: 429, code: 'concurrency_limit_exceeded', fetched: 0 });
  });

  it('is fetched again for the answer of an earlier call, which no limit holds back', async () => {
    const customer = await aCustomer().withCredit('1.00').create(service);
    await limit(customer, { images_per_minute: 1 });
    const key = { 'idempotency-key': 'once' };
    const first = await edit(customer, {}, key);
    expect(first).toMatchObject({ status: 200, fetched: 1 });
    expect((await edit(customer, {}, key)).answer.body).toEqual(first.answer.body);
  });
});

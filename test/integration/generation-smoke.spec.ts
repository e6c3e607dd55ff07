import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../support/invariants.js';
import { startTestApp, type TestApp } from '../support/test-app.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
});
afterAll(() => service.close());

describe('smoke', () => {
  it('generates', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const answer = await customer.client.post('/v1/images/generations', { model: MODEL, prompt: 'a fox', n: 2 });
    console.log(answer.status, Object.fromEntries(answer.headers), answer.body);
    const image = await fetch(answer.body.data[0].url);
    console.log(image.status, Object.fromEntries(image.headers), (await image.arrayBuffer()).byteLength);
    const list = await customer.client.get('/v1/generations');
    console.log(JSON.stringify(list.body, null, 1));
    console.log((await customer.client.get('/v1/models')).body, (await customer.client.get('/v1/models/' + MODEL)).body, (await customer.client.get('/v1/models/' + encodeURIComponent(MODEL))).body);
    console.log((await customer.client.post('/v1/quotes', { model: MODEL, n: 3 })).body);
    console.log((await customer.client.post('/v1/images/generations', { model: MODEL, prompt: 'a fox', n: 10, size: '64x64' })).expect(200).headers.get('x-charged-micros'));
    for (let i = 0; i < 4; i += 1) { const a = await customer.client.post('/v1/images/generations', { model: MODEL, prompt: 'a fox', n: 10, size: '64x64' }); console.log(a.status, JSON.stringify(a.body).slice(0, 400), Object.fromEntries(a.headers)['x-charged-micros']); }
    await expectBooksToBalance(service.dataSource);
    expect(1).toBe(1);
  });
});

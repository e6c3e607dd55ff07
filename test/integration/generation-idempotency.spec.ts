import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { MediaRetentionJob } from '../../src/gateway/images/media/media-retention.job.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { balancesOf, expectReceiptsToAgree, generate, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';

const CREDIT_MICROS = 1_000_000n;
const DAY_MS = 24 * 60 * 60_000;

let service: TestApp;
/** A second process on the same database. */
let second: TestApp;
beforeAll(async () => {
  service = await sharedApp();
  second = await sharedTwin();
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
});

afterEach(() => {
  for (const clock of [service.upstreamClock, service.clock, second.clock]) clock.reset();
});

const keyed = (key: string) => ({ 'Idempotency-Key': key });
const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;

/** The body as it travels. */
async function rawBody({ apiKey }: TestCustomer, url: string, body: object, key: string): Promise<string> {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...keyed(key) },
    body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: '64x64', ...body }),
  });
  return response.text();
}

describe('an idempotency key', () => {
  it.each([{}, { response_format: 'b64_json' }, { n: 3, prompt: 'x [sandbox:error, every=2]' }])(
    'repeats the first answer to the byte, from any process, and charges once: %p',
    async (body) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      const first = await rawBody(customer, service.url, body, 'same');
      const before = submits();
      const copies = [
        await rawBody(customer, service.url, body, 'same'),
        await rawBody(customer, service.url, body, '"same"'),
      ];
      expect(copies).toEqual([first, first]);
      const replay = (await generate(customer, body, keyed('same'))).expect(200);
      expect(replay.headers.get('idempotent-replayed')).toBe('true');
      expect(replay.headers.get('x-charged-micros')).toMatch(/^(40000|80000)$/);
      expect(submits()).toBe(before);
      await expectReceiptsToAgree(service, customer.accountId, second);
      if (!('response_format' in body)) return;
      expect(await rawBody(customer, second.url, body, 'same')).toBe(first);
    },
  );

  it('makes 100 parallel copies over two processes one call and one charge', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const before = submits();
    const other = { client: second.client(customer.apiKey) };
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, copy) =>
        generate(copy % 2 === 0 ? customer : other, {}, keyed('storm')),
      ),
    );
    const statuses = answers.map((answer) => answer.status);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1);
    expect(statuses.every((status) => status === 200 || status === 409)).toBe(true);
    for (const answer of answers.filter(({ status }) => status === 409)) {
      expect(answer.body.error).toMatchObject({ code: 'idempotency_in_progress', charged_micros: '0' });
      expect(answer.headers.get('retry-after')).toBe('1');
    }
    const delivered = answers
      .filter(({ status }) => status === 200)
      .map(({ headers }) => headers.get('x-generation-id'));
    expect(new Set(delivered).size).toBe(1);
    expect(submits()).toBe(before + 1);
    expect(await balancesOf(customer)).toMatchObject({ available: CREDIT_MICROS - PRICE_MICROS, held: 0n });
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('answers each of 100 parallel copies over two processes with the same bytes in the end, for one hold and one capture', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const before = submits();
    const body = { n: 2, response_format: 'b64_json' };
    // As SDKs do: a 409 is sent again until there is an answer.
    const insist = async (url: string): Promise<string> => {
      let text = '';
      await eventually('there is an answer', async () => {
        text = await rawBody(customer, url, body, 'insistent');
        return !text.includes('idempotency_in_progress');
      });
      return text;
    };
    const bodies = await Promise.all(
      Array.from({ length: 100 }, (_, copy) => insist((copy % 2 === 0 ? service : second).url)),
    );
    expect(JSON.parse(bodies[0] ?? '').data).toHaveLength(2);
    expect(new Set(bodies).size).toBe(1);
    expect(submits()).toBe(before + 2);
    const [rows] = await service.dataSource.query<{ holds: number; captures: number }[]>(
      `SELECT (SELECT count(*)::int FROM holds WHERE account_id = $1) AS holds,
              (SELECT count(*)::int FROM transfers WHERE account_id = $1 AND kind = 'capture') AS captures`,
      [customer.accountId],
    );
    expect(rows).toEqual({ holds: 1, captures: 1 });
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('gives a client that hung up its images when it comes back, whenever it left, for one charge', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const before = submits();
    const stages = {
      'at once': () => Promise.resolve(),
      'when its call arrived': () => once(service.app.getHttpServer(), 'request'),
      'when its credit was held': () =>
        eventually('credit is held', async () => (await balancesOf(customer)).held > 0n),
      'when the provider was at work': (submitted: number) =>
        eventually('the provider works', () => submits() > submitted),
    };
    for (const [index, reached] of Object.values(stages).entries()) {
      const key = `gone-${index}`;
      const prompt = 'x [sandbox:slow=100]';
      const client = new AbortController();
      service.upstreamClock.stop();
      const isReached = reached(submits());
      const left = fetch(`${service.url}/v1/images/generations`, {
        method: 'POST',
        signal: client.signal,
        headers: {
          authorization: `Bearer ${customer.apiKey}`,
          'content-type': 'application/json',
          ...keyed(key),
        },
        body: JSON.stringify({ model: MODEL, prompt, size: '64x64' }),
      }).catch(() => null);
      await isReached;
      client.abort();
      await left;
      service.upstreamClock.reset();
      const other = { client: second.client(customer.apiKey) };
      let images: unknown;
      await eventually('there is an answer', async () => {
        const answer = await generate(other, { prompt }, keyed(key));
        if (answer.status === 409) return false;
        images = answer.expect(200).body.data;
        return true;
      });
      expect(images).toHaveLength(1);
      const posted = (await balancesOf(customer)).posted;
      expect(CREDIT_MICROS - posted).toBe(BigInt(index + 1) * PRICE_MICROS);
    }
    expect(submits()).toBe(before + Object.keys(stages).length);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('sets nothing aside for copies: they are never refused for want of the credit that the first one holds', async () => {
    const customer = await service.createCustomer({ grantMicros: PRICE_MICROS });
    service.upstreamClock.stop();
    let refused = 0;
    const calls = Array.from({ length: 20 }, async () => {
      const { status } = await generate(customer, { prompt: 'x [sandbox:slow=300]' }, keyed('only'));
      if (status === 409) refused += 1;
      return status;
    });
    await eventually('all copies are refused', () => refused === 19);
    service.upstreamClock.reset();
    expect((await Promise.all(calls)).filter((status) => status === 200)).toHaveLength(1);
  });

  it('answers 409 while the first call runs, and its answer afterwards', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const body = { prompt: 'x [sandbox:slow=500]' };
    const before = submits();
    service.upstreamClock.stop();
    const first = generate(customer, body, keyed('slow'));
    await eventually('the provider works', () => submits() > before);
    (await generate(customer, body, keyed('slow'))).expect(409);
    service.upstreamClock.reset();
    const answer = (await first).expect(200);
    expect((await generate(customer, body, keyed('slow'))).expect(200).body).toEqual(answer.body);
  });

  it('refuses another body with 422 and charges nothing, but not another spelling of the same', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const first = (await generate(customer, {}, keyed('reused'))).expect(200);
    for (const body of [{ n: 2 }, { prompt: 'a cat' }, { response_format: 'b64_json' }]) {
      const answer = (await generate(customer, body, keyed('reused'))).expect(422);
      expect(answer.body.error).toMatchObject({ code: 'idempotency_key_reused', charged_micros: '0' });
    }
    const same = { n: 1, response_format: null, user: null };
    expect((await generate(customer, same, keyed('reused'))).expect(200).body).toEqual(first.body);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('belongs to one account', async () => {
    const [one, other] = [
      await service.createCustomer({ grantMicros: CREDIT_MICROS }),
      await service.createCustomer({ grantMicros: CREDIT_MICROS }),
    ];
    const first = (await generate(one, {}, keyed('shared'))).expect(200);
    const foreign = (await generate(other, { n: 2 }, keyed('shared'))).expect(200);
    expect(foreign.headers.get('x-generation-id')).not.toBe(first.headers.get('x-generation-id'));
  });

  it.each(['error', 'moderated', 'submit=500', 'submit=422'])(
    'lets a call that failed without a charge run again: %s',
    async (directive) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      // Every second task of this prompt fails; the first one is burnt without a key.
      const body = { prompt: `${customer.accountId} [sandbox:${directive}, every=2]` };
      (await generate(customer, body)).expect(200);
      expect((await generate(customer, body, keyed('again'))).status).toBeGreaterThanOrEqual(400);
      const retried = (await generate(customer, body, keyed('again'))).expect(200);
      expect(retried.headers.get('idempotent-replayed')).toBeNull();
      await expectReceiptsToAgree(service, customer.accountId, second);
    },
  );

  it('works after a 402 and a top-up', async () => {
    const customer = await service.createCustomer();
    (await generate(customer, {}, keyed('poor'))).expect(402);
    const grant = { amount_micros: '40000', reason: 'top-up' };
    (await service.operator.post(`/v1/accounts/${customer.accountId}/grants`, grant)).expect(201);
    (await generate(customer, {}, keyed('poor'))).expect(200);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it.each(['', ' ', '"', 'a\tb', 'x'.repeat(256), '"unclosed', 'ö'])(
    'is refused when malformed: %p',
    async (key) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      // Header values are Latin-1 at most; fetch refuses what cannot be sent at all.
      const answer = await generate(customer, {}, keyed(key)).catch(() => null);
      if (answer !== null && key.trim() !== '') expect(answer.status).toBe(400);
    },
  );

  it('is not used up by a request that was refused before it ran', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    (await generate(customer, { n: 0 }, keyed('fixed'))).expect(400);
    (await generate(customer, { n: 1 }, keyed('fixed'))).expect(200);
  });

  it.each([{}, { response_format: 'b64_json' }])(
    'never charges again: when its answer is gone it is refused as used, and says what the first call cost: %p',
    async (body) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      const first = (await generate(customer, body, keyed('old'))).expect(200);
      const id = first.headers.get('x-generation-id');
      const job: MediaRetentionJob = service.app.get(MediaRetentionJob);
      await job.run();
      expect((await generate(customer, body, keyed('old'))).expect(200).body).toEqual(first.body);
      const before = submits();
      for (const days of [9, 3_000]) {
        for (const process of [service, second]) process.clock.letPass(days * DAY_MS);
        await job.run();
        for (const client of [customer.client, second.client(customer.apiKey)]) {
          const { error } = (await generate({ client }, body, keyed('old'))).expect(410).body;
          expect(error).toMatchObject({
            code: 'idempotency_key_used',
            charged_micros: '0',
            first_generation_id: id,
            first_charged_micros: '40000',
          });
          expect(error.message).toContain(`GET /v1/generations/${id}`);
        }
      }
      expect(submits()).toBe(before);
      expect((await balancesOf(customer)).posted).toBe(CREDIT_MICROS - PRICE_MICROS);
      (await customer.client.get(`/v1/generations/${id}`)).expect(200);
      const other = { prompt: 'another', ...body };
      (await generate(customer, other, keyed('old'))).expect(422);
      (await generate(customer, body, keyed('new'))).expect(200);
      await expectReceiptsToAgree(service, customer.accountId, second);
    },
  );

  it('is kept by the database: nothing forgets the key of a call that was charged', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    (await generate(customer, {}, keyed('kept'))).expect(200);
    for (const change of [`idempotency_key = NULL`, `idempotency_key = 'another'`]) {
      const forget = `UPDATE generations SET ${change} WHERE account_id = $1`;
      await expect(service.dataSource.query(forget, [customer.accountId])).rejects.toThrow(/finishes once/);
    }
  });
});

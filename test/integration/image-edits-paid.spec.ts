import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { BlackForestLabsProvider } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { dieAt } from '../support/process/deaths.js';
import { form, GREEN, image } from '../support/images/edit-bodies.js';
import {
  dataUrl,
  EditSender,
  expectOpenAiError,
  expectReferences,
  picture,
  pictureOf,
} from '../support/images/edits.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { attach, makeProviderKey, walletRowsOf } from '../support/images/provider-keys.js';
import { recoverGenerations } from '../support/images/recovery.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';

let service: TestApp;
let customer: TestCustomer;
let edits: EditSender;

beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true, settings: { rateLimit: false } });
  customer = await service.createCustomer({ grantMicros: 4_000_000n });
  edits = new EditSender(service.url, customer.apiKey);
});
afterEach(() => service.upstreamClock.reset());
afterAll(async () => {
  await expectReceiptsToAgree(service, customer.accountId);
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;

describe('an edit is paid for as a generation is', () => {
  const keyed = (key: string) => ({ headers: { 'Idempotency-Key': key } });

  it('repeated under its key, the answer is the same to the byte, in either kind of body, and charged once', async () => {
    const twice = await service.createCustomer({ grantMicros: 80_000n });
    const sent = { apiKey: twice.apiKey, ...keyed('one') };
    const first = (await edits.form([image(picture(0))], sent)).expect(200);
    const before = submits();
    const json = { images: [{ image_url: dataUrl(picture(0)) }] };
    for (const copy of [await edits.form([image(picture(0))], sent), await edits.json(json, sent)]) {
      expect(copy.expect(200).body).toEqual(first.body);
      expect(copy.headers.get('idempotent-replayed')).toBe('true');
    }
    expect(submits()).toBe(before);
    const other = expectOpenAiError(await edits.form([image(picture(1))], sent), 422);
    expect(other.code).toBe('idempotency_key_reused');
    const generation = { model: MODEL, prompt: 'a fox', size: '64x64' };
    const asGeneration = await twice.client.post('/v1/images/generations', generation, sent.headers);
    expect(asGeneration.status).toBe(422);
    await expectReceiptsToAgree(service, twice.accountId);
    expect((await balancesOf(twice)).available).toBe(40_000n);
  });

  it('while it runs, its copy is refused and may be sent again; a failing one costs nothing and frees its key', async () => {
    const sent = keyed('running');
    const slow = { name: 'prompt', content: 'x [sandbox:slow=500]' };
    const parts = [{ name: 'model', content: MODEL }, slow, image(picture(0))];
    service.upstreamClock.stop();
    const before = submits();
    const first = edits.send(form(parts), sent);
    await eventually('the first one is at the provider', () => submits() > before);
    const copy = await edits.send(form(parts), sent);
    expect(expectOpenAiError(copy, 409).code).toBe('idempotency_in_progress');
    expect(copy.headers.get('retry-after')).toBe('1');
    service.upstreamClock.reset();
    (await first).expect(200);
    service.blackForestLabs?.control.fail('error', 1);
    const failed = await edits.form([image(picture(0))], keyed('failing'));
    expect(expectOpenAiError(failed, 500)).toMatchObject({ code: 'upstream_failed', charged_micros: '0' });
    (await edits.form([image(picture(0))], keyed('failing'))).expect(200);
  });

  it('forty at once never take more than the credit, and all are answered', async () => {
    const forty = await service.createCustomer({ grantMicros: 7n * PRICE_MICROS });
    const calls = Array.from({ length: 40 }, () => edits.form([image(picture(0))], { apiKey: forty.apiKey }));
    const statuses = (await Promise.all(calls)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(7);
    expect(statuses.filter((status) => status === 402)).toHaveLength(33);
    await expectReceiptsToAgree(service, forty.accountId);
  });

  it('over the customer’s own key it leaves no row in the wallet, and on a free model neither', async () => {
    const own = await service.createCustomer();
    const free = await service.createCustomer();
    await attach(own, makeProviderKey(service));
    const answer = (await edits.form([image(picture(1))], { apiKey: own.apiKey })).expect(200);
    expect(answer.headers.get('x-billing-mode')).toBe('byok');
    await expectReferences(await pictureOf(answer.body.data[0].url), [GREEN]);
    const parts = [
      { name: 'model', content: FREE_MODEL },
      { name: 'prompt', content: 'a' },
      image(picture(1)),
    ];
    (await edits.send(form(parts), { apiKey: free.apiKey })).expect(200);
    for (const { accountId } of [own, free]) {
      const rows = await walletRowsOf(service, accountId);
      expect(Object.values(rows).every((value) => value === '0')).toBe(true);
    }
  });

  it('its receipt says what it was, and neither prompt nor image is kept', async () => {
    const one = await service.createCustomer({ grantMicros: 40_000n });
    const prompt = { name: 'prompt', content: 'a very secret fox' };
    const parts = [{ name: 'model', content: MODEL }, prompt, image(picture(0)), image(picture(1))];
    const answer = (
      await edits.send(form(parts), { apiKey: one.apiKey, headers: { 'x-coffer-tag': 'foxes' } })
    ).expect(200);
    const id = String(answer.headers.get('x-generation-id'));
    const receipt = (await one.client.get(`/v1/generations/${id}`)).expect(200);
    expect(receipt.body).toMatchObject({ operation: 'edit', references_count: 2, images_delivered: 1 });
    const [row] = await service.dataSource.query<object[]>('SELECT * FROM generations WHERE id = $1', [id]);
    const [tasks] = await service.dataSource.query<object[]>(
      'SELECT json_agg(t) AS tasks FROM generation_tasks t WHERE generation_id = $1',
      [id],
    );
    const kept = JSON.stringify([row, tasks]);
    expect(kept).not.toContain('secret fox');
    expect(kept).not.toContain(picture(0).toString('base64').slice(0, 60));
  });

  it('lost with its process, it is finished by another one, which has no reference of it, and charged once', async () => {
    const lost = await service.createCustomer({ grantMicros: 40_000n });
    let isFirst = true;
    const death = dieAt(BlackForestLabsProvider.prototype, 'waitUntilReady', 'before', () => {
      const matches = isFirst;
      isFirst = false;
      return matches;
    });
    const sent = { apiKey: lost.apiKey, ...keyed('lost') };
    const call = edits.form([image(picture(1))], sent);
    await death.reached;
    const { dataDir, blackForestLabs } = service.settings;
    const upstream = {
      apiKey: blackForestLabs?.apiKey ?? '',
      baseUrl: service.blackForestLabs?.baseUrl ?? '',
    };
    await eventually('the row of the task is written', async () => {
      const rows = await service.dataSource.query<unknown[]>(
        'SELECT FROM generation_tasks WHERE account_id = $1 AND task_id IS NOT NULL',
        [lost.accountId],
      );
      return rows.length > 0;
    });
    await recoverGenerations({ databaseUrl: service.databaseUrl, dataDir, upstream });
    const replay = (await edits.form([image(picture(1))], sent)).expect(200);
    expect(replay.headers.get('idempotent-replayed')).toBe('true');
    await expectReferences(await pictureOf(replay.body.data[0].url), [GREEN]);
    death.wake();
    expect((await call).expect(200).body).toEqual(replay.body);
    expect((await balancesOf(lost)).available).toBe(0n);
    await expectReceiptsToAgree(service, lost.accountId);
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  AccountMediaDeletionJob,
  MediaDeletionJob,
} from '../../src/gateway/images/media/media-deletion.job.js';
import { MediaRetentionJob } from '../../src/gateway/images/media/media-retention.job.js';
import { toMediaName, MEDIA_STORE, type MediaStore } from '../../src/gateway/images/media/media-store.js';
import { newId } from '../../src/platform/common/ids.js';
import { balancesOf, capturedMicros, expectReceiptsToAgree, generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { S3Simulator } from '../support/servers/s3-simulator.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const DAY_MS = 24 * 60 * 60_000;

let s3: S3Simulator;
beforeAll(async () => {
  s3 = await S3Simulator.start();
});
afterAll(() => s3.close());

async function codeOf(url: string): Promise<string> {
  const response = await fetch(url);
  const body = (await response.json()) as { error: { code: string } };
  return `${response.status} ${body.error.code}`;
}

describe.each(['on disk', 'in S3'])('images %s', (where) => {
  let service: TestApp;
  let customer: TestCustomer;
  beforeAll(async () => {
    const settings =
      where === 'in S3' ? { s3: s3.settings, mediaRetentionDays: 3 } : { mediaRetentionDays: 3 };
    service = await startTestApp({ blackForestLabs: true, settings });
    customer = await service.createCustomer({ grantMicros: 10_000_000n });
  });
  afterEach(() => s3.clearFaults());
  afterAll(async () => {
    await expectBooksToBalance(service.dataSource);
    await service.close();
  });

  const make = async (body = {}, headers = {}) => {
    const { headers: answered, body: answer } = (await generate(customer, body, headers)).expect(200);
    return { id: String(answered.get('x-generation-id')), urls: urlsOf(answer) };
  };
  const urlsOf = ({ data }: { data: { url: string }[] }): string[] => data.map(({ url }) => url);
  const receiptOf = async (id: string) =>
    (await customer.client.get(`/v1/generations/${id}`)).expect(200).body;
  const store = () => service.app.get<MediaStore>(MEDIA_STORE);
  const nameOf = (id: string, position = 0) => toMediaName({ id }, { position, format: 'jpeg' });

  it('are gone at once when the customer deletes them; the receipt, the charge and the ledger stay', async () => {
    const { id, urls } = await make({ n: 2 });
    const before = [await receiptOf(id), await balancesOf(customer)];
    const deleted = (await customer.client.delete(`/v1/generations/${id}/images`)).expect(200).body;
    expect(deleted).toEqual({ object: 'generation.images', generation: id, deleted: true, images: 2 });
    for (const url of urls) expect(await codeOf(url)).toBe('404 resource_missing');
    const images = before[0].images.map((image: object) => ({ ...image, url: null }));
    expect([await receiptOf(id), await balancesOf(customer)]).toEqual([{ ...before[0], images }, before[1]]);
    await expectReceiptsToAgree(service, customer.accountId);
  });

  it('may be deleted again and again', async () => {
    const { id } = await make();
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => customer.client.delete(`/v1/generations/${id}/images`)),
    );
    for (const answer of answers) expect(answer.expect(200).body.images).toBe(1);
  });

  it('can be deleted by no other account, and by none when there never was such a call', async () => {
    const { id, urls } = await make();
    const other = await service.createCustomer();
    const reader = await service.createCustomer({ scopes: ['wallet:read'] });
    for (const one of [id, newId('generation'), 'gen_nonsense', '%00']) {
      expect((await other.client.delete(`/v1/generations/${one}/images`)).status).toBe(404);
    }
    expect((await reader.client.delete(`/v1/generations/${id}/images`)).status).toBe(403);
    expect((await service.client(null).delete(`/v1/generations/${id}/images`)).status).toBe(401);
    expect((await fetch(urls[0] ?? '')).status).toBe(200);
  });

  it.each(['url', 'b64_json'])(
    'that were deleted are not answered to a replay (%s), whose answer says so and which is charged nothing',
    async (format) => {
      const call = () =>
        generate(customer, { response_format: format }, { 'idempotency-key': `key-${format}` });
      const id = String((await call()).expect(200).headers.get('x-generation-id'));
      expect((await call()).expect(200).headers.get('x-generation-id')).toBe(id);
      (await customer.client.delete(`/v1/generations/${id}/images`)).expect(200);
      const captured = await capturedMicros(service, customer.accountId);
      const replay = (await call()).expect(410);
      expect(replay.body.error).toMatchObject({ code: 'images_deleted', charged_micros: '0' });
      expect(replay.headers.get('x-should-retry')).toBe('false');
      expect(await capturedMicros(service, customer.accountId)).toBe(captured);
    },
  );

  it('that a slow process stores after their deletion are looked for once more', async () => {
    const { id, urls } = await make();
    (await customer.client.delete(`/v1/generations/${id}/images`)).expect(200);
    await store().write(nameOf(id), Buffer.from('late'));
    const jobs = await service.dataSource.query<{ run_at: Date; payload: Record<string, string> }[]>(
      `SELECT j.run_at, p.payload FROM graphile_worker.jobs j JOIN graphile_worker._private_jobs p USING (id)
        WHERE j.key = $1`,
      [`media_deletion:${id}`],
    );
    expect(jobs).toHaveLength(1);
    expect((jobs[0]?.run_at.getTime() ?? 0) - Date.now()).toBeGreaterThan(4 * 60_000);
    await service.app.get(MediaDeletionJob).run(jobs[0]?.payload ?? {});
    expect(await codeOf(urls[0] ?? '')).toBe('404 resource_missing');
  });

  it('of a call that failed are none to delete', async () => {
    const failed = await generate(customer, { prompt: '[sandbox:moderated]' });
    const id = failed.status === 200 ? null : String(failed.body.error.generation_id);
    if (id === null) throw new Error('the simulator did not moderate');
    expect((await customer.client.delete(`/v1/generations/${id}/images`)).expect(200).body.images).toBe(0);
  });

  it('of an account all go when an operator erases them, and no other account’s', async () => {
    const erased = await service.createCustomer({ grantMicros: 1_000_000n });
    const made = await Promise.all(Array.from({ length: 5 }, () => generate(erased, { n: 2 })));
    const kept = await make();
    const route = `/v1/accounts/${erased.accountId}/images`;
    expect((await erased.client.delete(route)).status).toBe(403);
    expect((await service.operator.delete('/v1/accounts/acct_unknown/images')).status).toBe(404);
    (await service.operator.delete(route)).expect(202);
    const payload = { account: erased.accountId, before_ms: Date.now() + 1 };
    const context = { attempt: 1, attemptsMax: 1, signal: new AbortController().signal };
    await service.app.get(AccountMediaDeletionJob).run(payload, context);
    for (const { body } of made) {
      for (const url of urlsOf(body)) expect(await codeOf(url)).toBe('404 resource_missing');
    }
    expect((await fetch(kept.urls[0] ?? '')).status).toBe(200);
    expect(await capturedMicros(service, erased.accountId)).toBe(400_000n);
  });

  it('go when they are older than the retention time, and their keys with them; younger ones stay', async () => {
    const old = `gen_${idAt(Date.now() - 5 * DAY_MS)}`;
    const young = `gen_${idAt(Date.now() - 2 * DAY_MS)}`;
    for (const id of [old, young]) await store().write(nameOf(id), Buffer.from('image'));
    await service.app.get(MediaRetentionJob).run();
    expect(await store().getSize(nameOf(old))).toBeNull();
    expect(await store().getSize(nameOf(young))).toBe(5);
  });
});

/** A generation's id of that time. */
function idAt(timeMs: number): string {
  const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  let rest = timeMs;
  let time = '';
  for (let digit = 0; digit < 10; digit += 1) {
    time = `${ALPHABET[rest % 32]}${time}`;
    rest = Math.floor(rest / 32);
  }
  return `${time}0123456789ABCDEF`;
}

describe('a call whose images go to S3', () => {
  let service: TestApp;
  let customer: TestCustomer;
  beforeAll(async () => {
    service = await startTestApp({ blackForestLabs: true, settings: { s3: s3.settings } });
    customer = await service.createCustomer({ grantMicros: 1_000_000n });
  });
  afterEach(() => s3.clearFaults());
  afterAll(() => service.close());

  it('is answered with our own URL, which gives away neither bucket nor key, and the image comes through us', async () => {
    const url = String((await generate(customer)).expect(200).body.data[0].url);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1\/media\/gen_/);
    expect(url).not.toContain(s3.settings.bucket);
    expect(url).not.toContain(s3.settings.accessKey.id);
    const image = Buffer.from(await (await fetch(url)).arrayBuffer());
    expect([...s3.objects.values()].some(({ body }) => body.equals(image))).toBe(true);
  });

  it.each(['refuse', 'reset', 'slow_down'] as const)(
    'is charged only for an image that S3 has: with S3 away (%s) it fails, and its hold is gone',
    async (fault) => {
      const before = await balancesOf(customer);
      const objects = s3.objects.size;
      s3.fail(fault, 1_000, 'PUT');
      const failed = await generate(customer, { n: 2 });
      expect([500, 503]).toContain(failed.status);
      expect(failed.body.error).toMatchObject({ charged_micros: '0' });
      expect(failed.body.error.message).toContain('Nothing was charged');
      expect(await balancesOf(customer)).toEqual(before);
      expect(s3.objects.size).toBe(objects);
      await expectReceiptsToAgree(service, customer.accountId);
    },
  );

  it('answers a download 503 while S3 is away, and the image again afterwards', async () => {
    const url = String((await generate(customer)).expect(200).body.data[0].url);
    s3.fail('slow_down', 1_000, 'GET');
    expect(await codeOf(url)).toBe('503 media_unavailable');
    s3.clearFaults();
    expect((await fetch(url)).status).toBe(200);
  });

  it('cuts a download off when S3 does, so that no part is taken for the whole', async () => {
    const url = String((await generate(customer)).expect(200).body.data[0].url);
    s3.fail('truncate', 1, 'GET');
    await expect(fetch(url).then((response) => response.arrayBuffer())).rejects.toThrow();
  });

  it('keeps its promise to delete when S3 is away: the answer says so, and the job does it', async () => {
    const answer = (await generate(customer)).expect(200);
    const id = String(answer.headers.get('x-generation-id'));
    const url = String(answer.body.data[0].url);
    s3.fail('slow_down', 1_000, 'DELETE');
    const refused = (await customer.client.delete(`/v1/generations/${id}/images`)).expect(503);
    expect(refused.body.error.code).toBe('media_unavailable');
    expect((await customer.client.get(`/v1/generations/${id}`)).body.images[0].url).toBeNull();
    s3.clearFaults();
    await service.app.get(MediaDeletionJob).run({ account: customer.accountId, generation: id });
    expect(await codeOf(url)).toBe('404 resource_missing');
  });
});

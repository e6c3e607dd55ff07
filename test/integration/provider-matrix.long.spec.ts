import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { ProviderName } from '../../src/gateway/images/providers/image-provider.js';
import type { FailureKind } from '../../src/gateway/images/providers/provider-failure.js';
import { balancesOf, expectReceiptsToAgree, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { KEYS, startProviderStage, type ProviderStage } from '../support/images/provider-stage.js';
import { picture, type Play } from '../support/images/scripted-upstream.js';
import type { TestCustomer } from '../support/app/test-app.js';

/**
 * What the upstream does -> what it means, whether the next provider is asked, and what the customer sees. Every row is
 * played twice: where no other provider is left, and where the next one delivers.
 */
type Row = readonly [
  what: string,
  play: Play,
  kind: FailureKind,
  falls: boolean,
  status: number,
  code: string,
];

const BFL = 'black_forest_labs';
const CLOUDFLARE = 'cloudflare_workers_ai';
const COMPATIBLE = 'openai_compatible';
/** Who is asked after whom. */
const NEXT: Readonly<Record<ProviderName, ProviderName>> = {
  [BFL]: CLOUDFLARE,
  [CLOUDFLARE]: COMPATIBLE,
  [COMPATIBLE]: BFL,
};

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Play => ({
  does: 'answer',
  status,
  body,
  headers,
});
const cloudflare = (status: number, code: number, message = 'no'): Play =>
  answer(status, { success: false, result: null, errors: [{ code, message }] });
const openAi = (status: number, error: Record<string, unknown>): Play =>
  answer(status, { error: { message: 'no', type: null, code: null, param: null, ...error } });
const bytes = (make: (size: { width: number; height: number }) => Promise<Buffer> | Buffer): Play => ({
  does: 'deliver_bytes',
  bytes: make,
});
const half = async (size: { width: number; height: number }): Promise<Buffer> => {
  const whole = await picture(size);
  return whole.subarray(0, Math.floor(whole.length / 2));
};

const REJECTED = ['rejected', false, 400, 'invalid_request'] as const;
const MODERATED = ['moderated', false, 400, 'content_policy_violation'] as const;
const ACCOUNT = ['account', true, 503, 'upstream_unavailable'] as const;
const UNAVAILABLE = ['unavailable', true, 503, 'upstream_unavailable'] as const;
const SATURATED = ['saturated', true, 429, 'concurrency_limit_exceeded'] as const;
const FAILED = ['failed', true, 500, 'upstream_failed'] as const;

/** The same at every provider. */
const EVERYWHERE: readonly Row[] = [
  ['breaks the connection', { does: 'reset' }, ...UNAVAILABLE],
  ['redirects the request to a foreign host', { does: 'redirect' }, ...UNAVAILABLE],
  ['delivers text instead of an image', bytes(() => Buffer.from('<html>sorry</html>')), ...FAILED],
  ['delivers half an image', bytes(half), ...FAILED],
  ['delivers nothing at all', bytes(() => Buffer.alloc(0)), ...FAILED],
  [
    'delivers an image of another size',
    bytes(({ width, height }) => picture({ width: width * 2, height })),
    ...FAILED,
  ],
  ['answers HTML with status 200', answer(200, '<html>'), ...FAILED],
  ['answers an empty object', answer(200, {}), ...FAILED],
  ['answers 401', answer(401, { detail: 'who?' }), ...ACCOUNT],
  ['answers 402', answer(402, { detail: 'no credit' }), ...ACCOUNT],
  ['answers 403', answer(403, { detail: 'no' }), ...ACCOUNT],
  ['answers 404', answer(404, { detail: 'no such model' }), ...ACCOUNT],
  ['answers 408', answer(408, {}), ...UNAVAILABLE],
  ['answers 413', answer(413, { detail: 'too large' }), ...REJECTED],
  ['answers 415', answer(415, { detail: 'no' }), ...REJECTED],
  ['answers 422', answer(422, { detail: 'no' }), ...REJECTED],
  ['answers 451', answer(451, { detail: 'no' }), ...REJECTED],
  ['answers 429', answer(429, {}, { 'retry-after': '7' }), ...SATURATED],
  ['answers 500', answer(500, '<html>'), ...UNAVAILABLE],
  ['answers 502', answer(502, ''), ...UNAVAILABLE],
  ['answers 503', answer(503, {}), ...UNAVAILABLE],
];

const ROWS: Readonly<Record<ProviderName, readonly Row[]>> = {
  [BFL]: [
    ['answers 400', answer(400, { detail: 'no' }), ...REJECTED],
    ['moderates the request', { does: 'poll', status: 'Request Moderated' }, ...MODERATED],
    ['moderates the content', { does: 'poll', status: 'Content Moderated' }, ...MODERATED],
    ['ends the task in an error', { does: 'poll', status: 'Error' }, ...FAILED],
    ['names a polling URL on a foreign host', { does: 'foreign_polling' }, ...FAILED],
    ['names a result on a foreign host', { does: 'foreign_result' }, ...FAILED],
    ['redirects the result to a foreign host', { does: 'redirected_result' }, ...FAILED],
    ['delivers another format than was named', bytes((size) => picture(size, 'jpeg')), ...FAILED],
    ['breaks off its answer', { does: 'truncate' }, ...UNAVAILABLE],
  ],
  [CLOUDFLARE]: [
    ['says 5006, wrong input', cloudflare(400, 5006), ...REJECTED],
    ['says 3006, too large', cloudflare(413, 3006), ...REJECTED],
    ['says 3030, moderated', cloudflare(400, 3030, 'NSFW'), ...MODERATED],
    ['says 5007, no such model', cloudflare(400, 5007), ...ACCOUNT],
    ['says 3042, invalid model', cloudflare(404, 3042), ...ACCOUNT],
    ['says 3036, allocation used up', cloudflare(429, 3036), ...ACCOUNT],
    ['says 3023, account blocked', cloudflare(403, 3023), ...ACCOUNT],
    ['says 10000, wrong token', cloudflare(401, 10000), ...ACCOUNT],
    ['says 3040, out of capacity', cloudflare(429, 3040), ...SATURATED],
    ['says 3007, timeout', cloudflare(408, 3007), ...UNAVAILABLE],
    ['says success: false with status 200', cloudflare(200, 5006), ...FAILED],
    ['breaks off its answer', { does: 'truncate' }, ...UNAVAILABLE],
  ],
  [COMPATIBLE]: [
    ['refuses a parameter', openAi(400, { param: 'prompt', message: 'too long' }), ...REJECTED],
    ['blocks the content', openAi(400, { code: 'moderation_blocked' }), ...MODERATED],
    ['names its content policy', openAi(400, { code: 'content_policy_violation' }), ...MODERATED],
    ['is out of quota', openAi(429, { code: 'insufficient_quota' }), ...ACCOUNT],
    ['is beyond its billing limit', openAi(400, { code: 'billing_hard_limit_reached' }), ...ACCOUNT],
    ['knows no such model', openAi(404, { code: 'model_not_found' }), ...ACCOUNT],
    ['limits the rate', openAi(429, { code: 'rate_limit_exceeded' }), ...SATURATED],
    ['fails', openAi(500, { type: 'server_error' }), ...UNAVAILABLE],
    ['names a result on a foreign host', { does: 'foreign_result' }, ...FAILED],
    ['redirects the result to a foreign host', { does: 'redirected_result' }, ...FAILED],
    ['breaks off its answer', { does: 'truncate' }, ...UNAVAILABLE],
  ],
};

const PROVIDERS = [BFL, CLOUDFLARE, COMPATIBLE] as const;
const TABLE = PROVIDERS.flatMap((provider) =>
  [...EVERYWHERE, ...ROWS[provider]].map((row) => [provider, ...row] as const),
);

const NAMED = { output_format: 'png' };

let stage: ProviderStage;
let customer: TestCustomer;
beforeAll(async () => {
  stage = await startProviderStage([
    ...PROVIDERS.map((provider) => [provider]),
    ...PROVIDERS.map((provider) => [provider, NEXT[provider]]),
  ]);
  customer = await stage.service.createCustomer({ grantMicros: 10_000_000n });
});
afterEach(() => stage.upstream.reset());
afterAll(async () => {
  await expectBooksToBalance(stage.service.dataSource).finally(() => stage.close());
});

describe('every answer of every provider', () => {
  it.each(TABLE)(
    'costs nothing where no other provider is left, and falls through only where it may: %s %s',
    async (provider, _what, play, kind, falls, status, code) => {
      stage.upstream.play(provider, play);
      const before = await balancesOf(customer);
      const last = await stage.call(customer, [provider], NAMED);
      expect({ status: last.status, code: last.body.error?.code }).toEqual({ status, code });
      expect(last.headers.get('x-charged-micros')).toBe('0');
      if (status === 429 || status === 503) {
        expect(Number(last.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
        expect(Number(last.headers.get('retry-after'))).toBeLessThanOrEqual(60);
      }
      expect(await balancesOf(customer)).toEqual(before);
      const first = await stage.call(customer, [provider, NEXT[provider]], NAMED);
      expect(first.status).toBe(falls ? 200 : status);
      expect(first.headers.get('x-charged-micros')).toBe(falls ? String(PRICE_MICROS) : '0');
      const paid = before.available - (falls ? PRICE_MICROS : 0n);
      expect(await balancesOf(customer)).toEqual({ available: paid, held: 0n, posted: paid });

      await expectReceiptsToAgree(stage.service, customer.accountId);
      const failed = { position: 0, attempt: 1, provider, status: 'failed', failure: kind };
      const delivered = { position: 0, attempt: 2, provider: NEXT[provider], status: 'delivered' };
      expect(await stage.attemptsOf(customer, last)).toMatchObject([failed]);
      expect(await stage.attemptsOf(customer, first)).toMatchObject(falls ? [failed, delivered] : [failed]);
      expect(stage.upstream.strayed).toEqual([]);
    },
  );

  it('never brings a key or a prompt into a log line, nor a key to a customer', () => {
    const logged = stage.logged();
    expect(logged.length).toBeGreaterThan(10_000);
    for (const key of Object.values(KEYS)) expect(logged).not.toContain(key);
    expect(logged).not.toContain('a fox');
  });

  it.each(PROVIDERS)(
    'never shows or logs a key that the provider repeats in its complaint: %s',
    async (provider) => {
      const complaint = `the key ${KEYS[provider]} is wrong`;
      for (const status of [400, 401, 422, 500]) {
        stage.upstream.play(provider, {
          does: 'answer',
          status,
          body: {
            detail: [{ loc: ['body', 'prompt'], msg: complaint, type: 'x' }],
            errors: [{ code: 1, message: complaint }],
            error: { message: complaint, param: 'prompt', code: null },
          },
        });
        const refused = await stage.call(customer, [provider]);
        expect(refused.status).toBeGreaterThanOrEqual(400);
        expect(JSON.stringify(refused.body)).not.toContain(KEYS[provider]);
      }
      expect(stage.logged()).not.toContain(KEYS[provider]);
    },
  );
});

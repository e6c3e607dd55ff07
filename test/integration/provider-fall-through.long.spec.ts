import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { generationLimits } from '../../src/gateway/images/calls/generation-limits.js';
import type { ProviderName } from '../../src/gateway/images/providers/image-provider.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { balancesOf, expectReceiptsToAgree, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  LISTED_COST_MICROS,
  NO_BREAKER,
  startProviderStage,
  type Attempt,
  type ProviderStage,
} from '../support/images/provider-stage.js';
import { eventually } from '../support/processes.js';
import { picture, type Play } from '../support/images/scripted-upstream.js';
import type { TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const BFL = 'black_forest_labs';
const CLOUDFLARE = 'cloudflare_workers_ai';
const COMPATIBLE = 'openai_compatible';
const PROVIDERS = [BFL, CLOUDFLARE, COMPATIBLE] as const;
const NEXT: Readonly<Record<ProviderName, ProviderName>> = {
  [BFL]: CLOUDFLARE,
  [CLOUDFLARE]: COMPATIBLE,
  [COMPATIBLE]: BFL,
};
const CREDIT_MICROS = 2_000_000n;

const answer = (status: number, body: unknown): Play => ({ does: 'answer', status, body });

let stage: ProviderStage;
beforeAll(async () => {
  stage = await startProviderStage([
    ...PROVIDERS.map((provider) => [provider]),
    ...PROVIDERS.map((provider) => [provider, NEXT[provider]]),
    [BFL, BFL],
    [BFL, CLOUDFLARE, COMPATIBLE],
  ]);
});
afterEach(() => stage.upstream.reset());
afterAll(async () => {
  await expectBooksToBalance(stage.service.dataSource).finally(() => stage.close());
});

const customerOf = (): Promise<TestCustomer> => stage.service.createCustomer({ grantMicros: CREDIT_MICROS });
const call = (
  customer: TestCustomer,
  providers: readonly ProviderName[],
  body: Record<string, unknown> = {},
): Promise<TestAnswer> => stage.call(customer, providers, body);
const attemptsOf = (customer: TestCustomer): Promise<Attempt[]> => stage.attemptsOf(customer);

describe('an image that one provider fails to make', () => {
  it('is asked of one after the other, each attempt with its number and cost, and charged once', async () => {
    stage.upstream.play(BFL, { does: 'poll', status: 'Error' });
    stage.upstream.play(CLOUDFLARE, answer(503, {}));
    const customer = await customerOf();
    const made = (await call(customer, [BFL, CLOUDFLARE, COMPATIBLE], { n: 2 })).expect(200);
    expect(made.body.data).toHaveLength(2);
    expect(made.headers.get('x-charged-micros')).toBe(String(2n * PRICE_MICROS));
    await expectReceiptsToAgree(stage.service, customer.accountId);
    const attempts = (position: number) => [
      { position, attempt: 1, provider: BFL, failure: 'failed', upstream_cost_micros: '15000' },
      { position, attempt: 2, provider: CLOUDFLARE, failure: 'unavailable', upstream_cost_micros: null },
      // The catalogue does not say what this one costs, so the receipt has no cost either.
      { position, attempt: 3, provider: COMPATIBLE, status: 'delivered', upstream_cost_micros: null },
    ];
    expect(await attemptsOf(customer)).toMatchObject([...attempts(0), ...attempts(1)]);
  });

  it('may be in one answer with images of other providers', async () => {
    stage.upstream.play(BFL, { does: 'deliver' }, [answer(500, {}), answer(500, {})]);
    const customer = await customerOf();
    (await call(customer, [BFL, CLOUDFLARE], { n: 5 })).expect(200);
    await expectReceiptsToAgree(stage.service, customer.accountId);
    const delivered = (await attemptsOf(customer)).filter(({ status }) => status === 'delivered');
    const by = (name: string) => delivered.filter(({ provider }) => provider === name);
    expect([by(BFL).length, by(CLOUDFLARE).length]).toEqual([3, 2]);
    expect(by(CLOUDFLARE).map((attempt) => attempt.upstream_cost_micros)).toEqual(
      Array(2).fill(LISTED_COST_MICROS),
    );
  });

  it('is what was asked for, in format and size, whatever format the provider chose', async () => {
    for (const [provider, made] of [
      [CLOUDFLARE, 'jpeg'],
      [COMPATIBLE, 'webp'],
    ] as const) {
      stage.upstream.play(provider, { does: 'deliver_bytes', bytes: (size) => picture(size, made) });
      for (const format of ['png', 'jpeg', 'webp']) {
        const asked = { size: '512x256', output_format: format, response_format: 'b64_json' };
        const { body } = (await call(await customerOf(), [provider], asked)).expect(200);
        const image = await sharp(Buffer.from(body.data[0].b64_json, 'base64')).metadata();
        expect(image).toMatchObject({ format, width: 512, height: 256 });
      }
    }
  });

  it('is fetched without a key from the provider itself, when that answers with a URL', async () => {
    stage.upstream.play(COMPATIBLE, { does: 'deliver_url' });
    (await call(await customerOf(), [COMPATIBLE])).expect(200);
    expect(stage.upstream.asked(COMPATIBLE)).toBe(1);
  });

  it('passes over a provider that can never make it, without an attempt', async () => {
    const customer = await customerOf();
    // Cloudflare makes nothing below 256 pixels a side.
    stage.upstream.play(BFL, answer(500, {}));
    const { status, body } = await call(customer, [BFL, CLOUDFLARE, COMPATIBLE], { size: '128x128' });
    expect(status).toBe(200);
    expect(body.data).toHaveLength(1);
    await expectReceiptsToAgree(stage.service, customer.accountId);
    expect((await attemptsOf(customer)).map(({ provider }) => provider)).toEqual([BFL, COMPATIBLE]);
    expect(stage.upstream.asked(CLOUDFLARE)).toBe(0);
    const refused = await call(customer, [CLOUDFLARE], { size: '128x128' });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain('size: each side must be from 256 to 1920');
    expect(await balancesOf(customer)).toMatchObject({ held: 0n });
  });

  it('goes on before the deadline when a provider hangs, and ends with it when all do', async () => {
    setLimits(stage.service, { callDeadlineMs: 1_200 });
    try {
      for (const provider of PROVIDERS) {
        stage.upstream.play(provider, { does: 'hang' });
        const customer = await customerOf();
        (await call(customer, [provider, NEXT[provider]])).expect(200);
        const startedAtMs = performance.now();
        const alone = await call(customer, [provider]);
        expect(performance.now() - startedAtMs).toBeLessThan(3_000);
        expect([alone.status, alone.body.error.code]).toEqual([503, 'upstream_unavailable']);
        expect(await balancesOf(customer)).toMatchObject({ held: 0n });
        await expectReceiptsToAgree(stage.service, customer.accountId);
        stage.upstream.reset();
      }
    } finally {
      setLimits(stage.service, { callDeadlineMs: generationLimits.callDeadlineMs });
    }
  });

  it('is never asked of another provider while it may still come: it is held, recovered and charged once', async () => {
    setLimits(stage.service, { callDeadlineMs: 800 });
    const customer = await customerOf();
    // The first attempt fails after it was named, the second one is lost.
    stage.upstream.play(BFL, { does: 'poll', status: 'Pending' }, [{ does: 'poll', status: 'Error' }]);
    const lost = await call(customer, [BFL, BFL]);
    setLimits(stage.service, { callDeadlineMs: generationLimits.callDeadlineMs });
    expect([lost.status, lost.body.error.code]).toEqual([503, 'upstream_timeout']);
    expect(await balancesOf(customer)).toMatchObject({ held: PRICE_MICROS });
    const other = await customerOf();
    expect((await call(other, [COMPATIBLE])).status).toBe(200);
    stage.upstream.finishTasks();
    await stage.service.app.get(GenerationRecoveryService).recoverDue();
    await expectReceiptsToAgree(stage.service, customer.accountId);
    expect(await attemptsOf(customer)).toMatchObject([
      { attempt: 1, provider: BFL, status: 'failed', failure: 'failed' },
      { attempt: 2, provider: BFL, status: 'delivered' },
    ]);
    expect(await balancesOf(customer)).toMatchObject({ available: CREDIT_MICROS - PRICE_MICROS, held: 0n });
  });
});

describe('a full upstream account', () => {
  it('queues up to its slots, hands the rest to the next provider, and is a 429 where there is none', async () => {
    stage.upstream.play(BFL, { does: 'deliver_when_finished' });
    const [first, second] = [await customerOf(), await customerOf()];
    // 30 images for 24 slots.
    const calls = Array.from({ length: 3 }, () => call(first, [BFL, CLOUDFLARE], { n: 10 }));
    await eventually('every slot is taken', () => stage.upstream.activeTasks === 24);
    const refused = await call(second, [BFL]);
    expect([refused.status, refused.body.error.code]).toEqual([429, 'concurrency_limit_exceeded']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    await eventually('the rest is handed on', () => stage.upstream.asked(CLOUDFLARE) === 6);
    stage.upstream.finishTasks();
    for (const made of await Promise.all(calls)) expect(made.expect(200).body.data).toHaveLength(10);
    await expectReceiptsToAgree(stage.service, first.accountId);
    const attempts = await attemptsOf(first);
    const delivered = (name: string) =>
      attempts.filter(({ provider, status }) => provider === name && status === 'delivered').length;
    expect([delivered(BFL), delivered(CLOUDFLARE)]).toEqual([24, 6]);
    expect(attempts.filter(({ failure }) => failure === 'saturated')).toHaveLength(6);
    expect(await balancesOf(second)).toMatchObject({ available: CREDIT_MICROS, held: 0n });
  });
});

describe('a provider that is down', () => {
  const metric = async (text: string): Promise<string | undefined> => {
    const body = await (await fetch(`${stage.service.url}/metrics`)).text();
    return body.split('\n').find((line) => line.startsWith(text));
  };
  const QUICK = { failuresMax: 3, failingForMs: 0, openMs: 400, openMaxMs: 400, probeMs: 400 };

  it('is left alone after it failed often enough, asked by one call after a while, and taken back', async () => {
    const customer = await customerOf();
    (await call(customer, [BFL])).expect(200);
    setLimits(stage.service, { circuit: QUICK });
    try {
      stage.upstream.play(BFL, answer(503, {}));
      for (let calls = 0; calls < 3; calls += 1) expect((await call(customer, [BFL])).status).toBe(503);
      const asked = stage.upstream.asked(BFL);
      const refused = await call(customer, [BFL]);
      expect([refused.status, refused.body.error.code]).toEqual([503, 'upstream_unavailable']);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      (await call(customer, [BFL, CLOUDFLARE])).expect(200);
      expect(stage.upstream.asked(BFL)).toBe(asked);
      expect(await metric('coffer_provider_circuit_state{provider="black_forest_labs"}')).toMatch(/ 2$/);
      expect(
        await metric(
          'coffer_provider_fall_throughs_total{from="black_forest_labs",to="cloudflare_workers_ai",failure="unavailable"}',
        ),
      ).toBeDefined();
      // The probe fails: one request, and it is left alone again.
      stage.service.clock.letPass(QUICK.openMs);
      await Promise.all(Array.from({ length: 5 }, () => call(customer, [BFL])));
      expect(stage.upstream.asked(BFL)).toBe(asked + 1);
      stage.upstream.reset();
      stage.service.clock.letPass(QUICK.openMs);
      (await call(customer, [BFL])).expect(200);
      expect(await metric('coffer_provider_circuit_state{provider="black_forest_labs"}')).toMatch(/ 0$/);
    } finally {
      setLimits(stage.service, { circuit: NO_BREAKER });
    }
    await expectReceiptsToAgree(stage.service, customer.accountId);
  });

  it.each([401, 402, 403])(
    'refusing our own account with %i is a 503 and an alert until it takes us again, never a 402 of the customer',
    async (status) => {
      const customer = await customerOf();
      const alert = 'coffer_upstream_account_refused{provider="cloudflare_workers_ai"}';
      stage.upstream.play(CLOUDFLARE, answer(status, {}));
      const refused = await call(customer, [CLOUDFLARE]);
      expect([refused.status, refused.body.error.code]).toEqual([503, 'upstream_unavailable']);
      expect(await metric(alert)).toMatch(/ 1$/);
      stage.upstream.reset();
      (await call(customer, [CLOUDFLARE])).expect(200);
      expect(await metric(alert)).toMatch(/ 0$/);
      expect(
        await metric('coffer_upstream_account_refusals_total{provider="cloudflare_workers_ai"}'),
      ).toBeDefined();
    },
  );
});

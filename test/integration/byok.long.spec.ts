import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { RunningGenerationsService } from '../../src/gateway/images/calls/running-generations.service.js';
import { balancesOf, capturedMicros, generate, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  attach,
  makeProviderKey,
  placesOf,
  PROVIDER,
  walletRowsOf,
} from '../support/images/provider-keys.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const CREDIT_MICROS = 1_000_000n;
const keyed = (key: string) => ({ 'Idempotency-Key': key });

let service: TestApp;
/** Everything that the service logged, at its most talkative. */
let logged = '';
/** Every answer of the images API in this file. */
const answers: TestAnswer[] = [];
const secrets: string[] = [];
beforeAll(async () => {
  const log = pino({ level: 'trace' }, { write: (line: string) => void (logged += line) });
  service = await startTestApp({ blackForestLabs: true, log });
});
afterAll(() => service.close());

function newKey(): string {
  const key = makeProviderKey(service);
  secrets.push(key);
  return key;
}

async function call(customer: TestCustomer, body: object = {}, headers = {}): Promise<TestAnswer> {
  const answer = await generate(customer, { ...body }, headers);
  answers.push(answer);
  return answer;
}

async function receiptOf({ client }: TestCustomer, answer: TestAnswer): Promise<Record<string, unknown>> {
  const id = answer.headers.get('x-generation-id') ?? String(answer.body.error?.generation_id);
  return (await client.get(`/v1/generations/${id}`)).expect(200).body;
}

describe('a call over the customer’s own key', () => {
  it('goes over their account, leaves no row of money, and says so on the answer and the receipt', async () => {
    const customer = await service.createCustomer();
    const key = newKey();
    const id = await attach(customer, key);
    const before = await walletRowsOf(service, customer.accountId);
    const ours = service.settings.blackForestLabs?.apiKey ?? '';
    const oursBefore = service.blackForestLabs?.control.countsOf(ours).submits;
    const answer = (await call(customer, { n: 2 })).expect(200);
    expect(answer.headers.get('x-charged-micros')).toBe('0');
    expect(answer.headers.get('x-billing-mode')).toBe('byok');
    expect(answer.headers.get('x-wallet-available-micros')).toBeNull();
    expect(service.blackForestLabs?.control.countsOf(key).submits).toBe(2);
    expect(service.blackForestLabs?.control.countsOf(ours).submits).toBe(oursBefore);
    expect(await receiptOf(customer, answer)).toMatchObject({
      status: 'succeeded',
      billing_mode: 'byok',
      provider_key: id,
      images_delivered: 2,
      charged_micros: '0',
      unit_price_micros: String(PRICE_MICROS),
      hold: null,
      fell_back_from: null,
    });
    for (const { url } of answer.body.data) expect((await fetch(url)).status).toBe(200);
    expect(await walletRowsOf(service, customer.accountId)).toEqual(before);
  });

  it('books nothing of what it costs them as a cost of ours', async () => {
    const customer = await service.createCustomer();
    await attach(customer, newKey());
    (await call(customer)).expect(200);
    await service.app.get(RunningGenerationsService).recorded(customer.accountId);
    const tasks = await service.dataSource.query(
      'SELECT task_id IS NOT NULL AS named, upstream_cost_micros FROM generation_tasks WHERE account_id = $1',
      [customer.accountId],
    );
    expect(tasks).toEqual([{ named: true, upstream_cost_micros: null }]);
  });

  it('works with an empty or frozen wallet, which is not asked', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    await attach(customer, newKey());
    const freeze = { reason: 'test' };
    (await service.operator.post(`/v1/accounts/${customer.accountId}/freeze`, freeze)).expect(200);
    (await call(customer)).expect(200);
  });

  it('is repeated to the byte under its idempotency key, even when its key is gone; another body is refused', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const key = newKey();
    await attach(customer, key);
    const [first, ...copies] = await Promise.all(
      Array.from({ length: 10 }, () => call(customer, { response_format: 'b64_json' }, keyed('once'))),
    );
    const made = [first, ...copies].filter((answer) => answer?.status === 200);
    expect(made.length).toBeGreaterThan(0);
    expect(service.blackForestLabs?.control.countsOf(key).submits).toBe(1);
    await customer.client.delete(`/v1/provider_keys/${PROVIDER}`);
    const replay = (await call(customer, { response_format: 'b64_json' }, keyed('once'))).expect(200);
    expect(replay.body).toEqual(made[0]?.body);
    expect(replay.headers.get('idempotent-replayed')).toBe('true');
    expect(replay.headers.get('x-billing-mode')).toBe('byok');
    expect(replay.headers.get('x-charged-micros')).toBe('0');
    (await call(customer, { prompt: 'another' }, keyed('once'))).expect(422);
    expect(await capturedMicros(service, customer.accountId)).toBe(0n);
  });

  it.each([
    ['moderated', 400, 'content_policy_violation'],
    ['error', 500, 'upstream_failed'],
    ['submit=503', 503, 'upstream_unavailable'],
    ['not_image', 500, 'upstream_failed'],
  ])(
    'fails as any other when the provider answers %s, and costs nothing',
    async (directive, status, code) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      await attach(customer, newKey(), { fall_back_to_wallet: true });
      const answer = (await call(customer, { prompt: `x [sandbox:${directive}]` })).expect(status);
      expect(answer.body.error).toMatchObject({ code, charged_micros: '0', billing_mode: 'byok' });
      expect(await receiptOf(customer, answer)).toMatchObject({ status: 'failed', error_code: code });
      expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS, held: 0n });
    },
  );

  it('has 24 task slots of its own: it neither waits for those of others nor takes theirs', async () => {
    const control = service.blackForestLabs?.control;
    const [one, other] = [await service.createCustomer(), await service.createCustomer()];
    const key = newKey();
    await attach(one, key);
    await attach(other, newKey());
    control?.setActiveTasksMax(24);
    service.upstreamClock.stop();
    const slow = Array.from({ length: 3 }, () => call(one, { n: 10, prompt: 'x [sandbox:slow=1200]' }));
    const submitted = (count: number) =>
      eventually(`${count} tasks are made`, () => control?.countsOf(key).submits === count);
    await submitted(24);
    // While every slot of the first one is taken, and nothing of it gets ready.
    (await call(other)).expect(200);
    expect(control?.countsOf(key).submits).toBe(24);
    const before = control?.counts();
    service.upstreamClock.letPass(1_200);
    await submitted(30);
    service.upstreamClock.letPass(1_200);
    for (const answer of await Promise.all(slow)) expect(answer.expect(200).body.data).toHaveLength(10);
    service.upstreamClock.reset();
    control?.setActiveTasksMax(null);
    // The 25th was never sent to be refused: every submit made a task.
    const after = control?.counts();
    expect((after?.submits ?? 0) - (after?.tasks ?? 0)).toBe((before?.submits ?? 0) - (before?.tasks ?? 0));
  });

  it('is finished when its key is removed while it runs; the next call is paid', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const key = newKey();
    await attach(customer, key);
    service.upstreamClock.stop();
    const running = call(customer, { prompt: 'x [sandbox:slow=600]' });
    const submits = () => service.blackForestLabs?.control.countsOf(key).submits;
    await eventually('it runs', () => submits() === 1);
    (await customer.client.delete(`/v1/provider_keys/${PROVIDER}`)).expect(200);
    const paid = (await call(customer)).expect(200);
    expect(paid.headers.get('x-billing-mode')).toBe('wallet');
    expect(paid.headers.get('x-charged-micros')).toBe(String(PRICE_MICROS));
    service.upstreamClock.letPass(600);
    const answer = (await running).expect(200);
    service.upstreamClock.reset();
    expect(answer.headers.get('x-billing-mode')).toBe('byok');
    expect(submits()).toBe(1);
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });

  it('is answered 503 and found out about later when the provider does not finish in time', async () => {
    setLimits(service, { callDeadlineMs: 300 });
    const customer = await service.createCustomer();
    await attach(customer, newKey());
    const answer = (await call(customer, { prompt: 'x [sandbox:slow=900]' }, keyed('slow'))).expect(503);
    setLimits(service, { callDeadlineMs: 110_000 });
    expect(answer.body.error).toMatchObject({ code: 'upstream_timeout', outcome: 'pending' });
    expect(await receiptOf(customer, answer)).toMatchObject({ status: 'unresolved', billing_mode: 'byok' });
    (await call(customer, { prompt: 'x [sandbox:slow=900]' }, keyed('slow'))).expect(409);
  });
});

describe('a key that the provider does not take', () => {
  const refused = async (further: object = {}) => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const key = 'bfl_invalid_key_of_a_customer';
    secrets.push(key);
    const id = await attach(customer, key, { ...further });
    return { customer, id };
  };
  const unfunded = async (further: object = {}) => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const key = newKey();
    service.blackForestLabs?.control.setCredits(key, 0);
    const id = await attach(customer, key, { ...further });
    return { customer, id };
  };

  it.each([
    ['refused', refused, 401, 'authentication_error', 'byok_key_rejected'],
    ['out of credit', unfunded, 402, 'insufficient_credits', 'byok_upstream_insufficient_credits'],
  ])(
    'fails closed when it is %s, says that it is theirs, and leaves the wallet alone',
    async (_why, make, ...rest) => {
      const [status, type, code] = rest;
      const { customer, id } = await make();
      const before = await walletRowsOf(service, customer.accountId);
      const answer = (await call(customer, { n: 3 })).expect(status);
      expect(answer.body.error).toMatchObject({
        type,
        code,
        charged_micros: '0',
        billing_mode: 'byok',
        provider_key: id,
        message: expect.stringMatching(/[Yy]our own.*wallet was not used/),
      });
      expect(answer.body.error).not.toHaveProperty('top_up_url');
      expect(answer.headers.get('x-should-retry')).toBe('false');
      expect(await receiptOf(customer, answer)).toMatchObject({ status: 'failed', error_code: code });
      expect(await walletRowsOf(service, customer.accountId)).toEqual(before);
    },
  );

  it.each([
    ['refused', refused],
    ['out of credit', unfunded],
  ])(
    'is paid by the wallet when it is %s and the account asked for that, as a wallet-funded call that says so',
    async (_why, make) => {
      const { customer } = await make({ fall_back_to_wallet: true });
      const answer = (await call(customer, { n: 2 }, keyed('fall'))).expect(200);
      expect(answer.headers.get('x-billing-mode')).toBe('wallet');
      expect(answer.headers.get('x-charged-micros')).toBe(String(2n * PRICE_MICROS));
      const refusedId = answer.headers.get('x-fell-back-from');
      const receipt = await receiptOf(customer, answer);
      expect(receipt).toMatchObject({
        billing_mode: 'wallet',
        provider_key: null,
        fell_back_from: refusedId,
      });
      const { body } = (await customer.client.get(`/v1/generations/${refusedId}`)).expect(200);
      expect(body).toMatchObject({ billing_mode: 'byok', status: 'failed', charged_micros: '0' });
      const replay = (await call(customer, { n: 2 }, keyed('fall'))).expect(200);
      expect(replay.headers.get('idempotent-replayed')).toBe('true');
      expect(replay.headers.get('x-fell-back-from')).toBe(refusedId);
      expect(await balancesOf(customer)).toMatchObject({
        posted: CREDIT_MICROS - 2n * PRICE_MICROS,
        held: 0n,
      });
    },
  );

  it('does not let the wallet fall below nothing for a call that falls back: 402 like any other', async () => {
    const customer = await service.createCustomer();
    await attach(customer, 'bfl_invalid_key_without_wallet', { fall_back_to_wallet: true });
    const answer = (await call(customer)).expect(402);
    expect(answer.body.error).toMatchObject({ code: 'insufficient_credits', charged_micros: '0' });
    expect(answer.body.error.fell_back_from).toMatch(/^gen_/);
    expect(answer.body.error.top_up_url).toMatch(/top_ups$/);
  });

  it('keeps what was delivered before its credit ran out, and asks the wallet for nothing', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const key = newKey();
    // Two pictures of a first megapixel each, at 1.5 credits.
    service.blackForestLabs?.control.setCredits(key, 3);
    await attach(customer, key, { fall_back_to_wallet: true });
    const answer = (await call(customer, { n: 4 })).expect(200);
    expect(answer.body.data).toHaveLength(2);
    expect(answer.headers.get('x-billing-mode')).toBe('byok');
    expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS, held: 0n });
  });
});

describe('many calls at once', () => {
  it('leave zero wallet rows for BYOK and exactly the paid images for the rest: 100 mixed calls', async () => {
    const own = await Promise.all(
      [1, 2, 3].map(() => service.createCustomer({ grantMicros: CREDIT_MICROS })),
    );
    for (const customer of own) await attach(customer, newKey());
    const paying = await service.createCustomer({ grantMicros: 10n * CREDIT_MICROS });
    const before = await Promise.all(own.map(({ accountId }) => walletRowsOf(service, accountId)));
    const customers = [...own, paying];
    const prompts = ['a fox', 'x [sandbox:moderated]', 'x [sandbox:error, every=2]', 'x [sandbox:truncated]'];
    const made = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const customer = customers[index % customers.length] as TestCustomer;
        const prompt = prompts[(index >> 2) % prompts.length];
        return { customer, answer: await call(customer, { prompt, n: 1 + (index % 3) }) };
      }),
    );
    const images = (customer: TestCustomer) =>
      made
        .filter((one) => one.customer === customer && one.answer.status === 200)
        .reduce((sum, { answer }) => sum + Number(answer.body.data.length), 0);
    await service.app.get(RunningGenerationsService).recorded(paying.accountId);
    expect(await capturedMicros(service, paying.accountId)).toBe(BigInt(images(paying)) * PRICE_MICROS);
    expect(await balancesOf(paying)).toMatchObject({ held: 0n });
    for (const [index, customer] of own.entries()) {
      expect(images(customer)).toBeGreaterThan(0);
      expect(await walletRowsOf(service, customer.accountId)).toEqual(before[index]);
    }
    await expectBooksToBalance(service.dataSource);
  });
});

describe('the keys of this whole file', () => {
  it('are in no log line, no answer, no header and no column of the database', async () => {
    // Outcomes are written and logged after the answers.
    await eventually('every call is over', () => service.app.get(RunningGenerationsService).size === 0);
    expect(secrets.length).toBeGreaterThan(10);
    const answered = answers.map(({ body, headers }) => JSON.stringify([body, [...headers]])).join('\n');
    expect(logged.length).toBeGreaterThan(10_000);
    for (const secret of secrets) {
      expect(logged.includes(secret)).toBe(false);
      expect(answered.includes(secret)).toBe(false);
      expect(await placesOf(service, secret)).toEqual([]);
    }
  });

  it('would be found by this search: what is stored in plain words is', async () => {
    const customer = await service.createCustomer({ name: 'a name that is no secret' });
    const places = await placesOf(service, 'a name that is no secret');
    expect(places.sort()).toEqual(['public.accounts.name', 'public.audit_events.after']);
    expect(customer.accountId).toMatch(/^acct_/);
  });
});

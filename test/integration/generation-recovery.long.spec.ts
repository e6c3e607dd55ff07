import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { IMAGE_PROVIDERS } from '../../src/gateway/images/providers/image-provider.js';
import { MEDIA_STORE } from '../../src/gateway/images/media/media-store.js';
import { GenerationRecordsService } from '../../src/gateway/images/calls/records/generation-records.service.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { OrphanedHoldsService } from '../../src/gateway/images/calls/recovery/orphaned-holds.service.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { dieAt, type Death } from '../support/process/deaths.js';
import {
  balancesOf,
  capturedMicros,
  expectReceiptsToAgree,
  generate,
  PRICE_MICROS,
  setLimits,
} from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const CREDIT_MICROS = 1_000_000n;
const keyed = { 'Idempotency-Key': 'k' };

/** The process that dies, and the one that recovers. */
let dying: TestApp;
let living: TestApp;
beforeAll(async () => {
  dying = await startTestApp({ blackForestLabs: true });
  const { masterKeys, dataDir, blackForestLabs } = dying.settings;
  living = await startTestApp({
    databaseUrl: dying.databaseUrl,
    settings: { masterKeys, dataDir, blackForestLabs, publicUrl: new URL(dying.url) },
  });
});
afterAll(async () => {
  await living.close();
  await dying.close();
});

const commandIs = (type: WalletCommand['type']) =>
  ((command: WalletCommand) => command.type === type) as (...args: never[]) => boolean;
const engine = () => dying.app.get(WalletEngine);
const records = () => dying.app.get(GenerationRecordsService);
/** The adapter itself, without its circuit breaker. */
const provider = () =>
  (
    dying.app.get<Map<string, object>>(IMAGE_PROVIDERS).get('black_forest_labs') as {
      readonly provider: object;
    }
  ).provider;
const media = () => dying.app.get<object>(MEDIA_STORE);

type Point = {
  readonly die: () => Death;
  readonly charged: bigint;
  /** Whether each image of a call stops there, or the call itself. */
  readonly stops: 'each image' | 'the call';
};

/** Every place between the request and the reply at which the process can die. */
const POINTS: readonly (readonly [place: string, point: Point])[] = [
  ['before the row is claimed', ofCall(() => dieAt(records(), 'claim', 'before'), 0n)],
  ['after the row is claimed', ofCall(() => dieAt(records(), 'claim', 'after'), 0n)],
  ['before the hold', ofCall(() => dieAt(engine(), 'execute', 'before', commandIs('authorize')), 0n)],
  ['after the hold', ofCall(() => dieAt(engine(), 'execute', 'after', commandIs('authorize')), 0n)],
  ['before the submit', ofImage(() => dieAt(provider(), 'submit', 'before'), 0n)],
  ['after the submit, its task not written', ofImage(() => dieAt(provider(), 'submit', 'after'), 0n)],
  ['after the task is written', ofImage(() => dieAt(provider(), 'waitUntilReady', 'before'), PRICE_MICROS)],
  ['when the image is ready', ofImage(() => dieAt(provider(), 'waitUntilReady', 'after'), PRICE_MICROS)],
  ['before the image is stored', ofImage(() => dieAt(media(), 'write', 'before'), PRICE_MICROS)],
  ['after the image is stored', ofImage(() => dieAt(media(), 'write', 'after'), PRICE_MICROS)],
  [
    'before the capture',
    ofCall(() => dieAt(engine(), 'execute', 'before', commandIs('capture')), PRICE_MICROS),
  ],
  [
    'after the capture',
    ofCall(() => dieAt(engine(), 'execute', 'after', commandIs('capture')), PRICE_MICROS),
  ],
  ['before the outcome is written', ofCall(() => dieAt(records(), 'finish', 'before'), PRICE_MICROS)],
  ['after the outcome is written', ofCall(() => dieAt(records(), 'finish', 'after'), PRICE_MICROS)],
];

function ofCall(die: () => Death, charged: bigint): Point {
  return { die, charged, stops: 'the call' };
}

function ofImage(die: () => Death, charged: bigint): Point {
  return { die, charged, stops: 'each image' };
}

/** What the recovery job does once the dead process' lease is over. */
async function recover(accountId: string): Promise<void> {
  await living.dataSource.query(
    `UPDATE generations SET lease_expires_at = now() - interval '1 s'
      WHERE account_id = $1 AND status IN ('running', 'unresolved')`,
    [accountId],
  );
  setLimits(living, { orphanedAfterMs: 0 });
  await living.app.get(GenerationRecoveryService).recoverDue();
  await living.app.get(OrphanedHoldsService).release();
  setLimits(living, { orphanedAfterMs: 60_000 });
}

/** Waits until all images of a call have come to where it dies, and what was known by then is written, which happens concurrently. */
async function settled(customer: TestCustomer, death: Death, point: Point, images = 1): Promise<void> {
  const stops = point.stops === 'the call' ? 1 : images;
  await eventually('everything of it has stopped', () => death.stops() === stops);
  await tasksWritten(customer, point.charged > 0n ? images : 0);
}

function tasksWritten({ accountId }: TestCustomer, count: number): Promise<void> {
  const sql = 'SELECT FROM generation_tasks WHERE account_id = $1 AND task_id IS NOT NULL';
  return eventually(`${count} tasks are written`, async () => {
    return (await dying.dataSource.query<unknown[]>(sql, [accountId])).length === count;
  });
}

function viaLiving({ apiKey }: TestCustomer, body: object = {}): Promise<TestAnswer> {
  return generate({ client: living.client(apiKey) }, { ...body }, keyed);
}

describe.each(POINTS)('a process that dies %s', (_place, point) => {
  const { die, charged } = point;

  it('is recovered: the hold is resolved, delivered images are charged once, and a retry is the same call', async () => {
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = die();
    const lost = generate(customer, {}, keyed);
    await death.reached;
    await settled(customer, death, point);
    await recover(customer.accountId);
    await expectReceiptsToAgree(living, customer.accountId);
    expect(await capturedMicros(living, customer.accountId)).toBe(charged);
    // The client tries again, at another process: the answer of a call that was charged is repeated, and any other call is made again.
    const retried = (await viaLiving(customer)).expect(200);
    expect(retried.headers.get('idempotent-replayed')).toBe(charged > 0n ? 'true' : null);
    expect((await fetch(retried.body.data[0].url)).status).toBe(200);
    expect(await balancesOf(customer)).toEqual({
      available: CREDIT_MICROS - PRICE_MICROS,
      held: 0n,
      posted: CREDIT_MICROS - PRICE_MICROS,
    });
    // It was not dead, only very slow: whatever it does now, nothing is charged twice or handed out for nothing.
    death.wake();
    const late = await lost;
    if (late.status === 200) expect(late.body).toEqual(retried.body);
    else expect(late.headers.get('x-charged-micros')).not.toBe(String(PRICE_MICROS));
    expect(await capturedMicros(living, customer.accountId)).toBe(PRICE_MICROS);
    await expectReceiptsToAgree(living, customer.accountId);
    await expectBooksToBalance(living.dataSource);
  });

  it('is recovered without an idempotency key as well', async () => {
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = die();
    const lost = generate(customer, { n: 3 });
    const started = await Promise.race([death.reached.then(() => true), lost.then(() => false)]);
    if (!started) return; // This place exists only with a key.
    await settled(customer, death, point, 3);
    await recover(customer.accountId);
    await expectReceiptsToAgree(living, customer.accountId);
    const recovered = await capturedMicros(living, customer.accountId);
    death.wake();
    const late = await lost;
    const { data } = (await customer.client.get('/v1/generations')).expect(200).body;
    const delivered = data.flatMap((receipt: { images: unknown[] }) => receipt.images).length;
    const captured = await capturedMicros(living, customer.accountId);
    expect(captured).toBe(BigInt(delivered) * PRICE_MICROS);
    if (recovered > 0n) expect(captured).toBe(recovered);
    if (late.status === 200) expect(late.body.data).toHaveLength(delivered);
    await expectReceiptsToAgree(living, customer.accountId);
    await expectBooksToBalance(living.dataSource);
  });
});

describe('an outcome that is unknown at the deadline', () => {
  const body = { prompt: 'x [sandbox:slow=2500]', n: 2 };

  it('is answered 503 that must not be retried, keeps the hold, and is delivered when the provider is done', async () => {
    setLimits(dying, { callDeadlineMs: 800 });
    dying.upstreamClock.stop();
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const answer = (await generate(customer, body, keyed)).expect(503);
    setLimits(dying, { callDeadlineMs: 110_000 });
    expect(answer.body.error).toMatchObject({
      code: 'upstream_timeout',
      outcome: 'pending',
      charged_micros: '0',
    });
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await balancesOf(customer)).toMatchObject({ held: 2n * PRICE_MICROS, posted: CREDIT_MICROS });
    const id: string = answer.body.error.generation_id;
    expect((await customer.client.get(`/v1/generations/${id}`)).body).toMatchObject({ status: 'unresolved' });
    (await viaLiving(customer, body)).expect(409);
    dying.upstreamClock.letPass(2_500);
    await recover(customer.accountId);
    const receipt = (await customer.client.get(`/v1/generations/${id}`)).expect(200).body;
    expect(receipt).toMatchObject({ status: 'succeeded', images_delivered: 2, charged_micros: '80000' });
    dying.upstreamClock.reset();
    for (const image of receipt.images) expect((await fetch(image.url)).status).toBe(200);
    expect((await viaLiving(customer, body)).expect(200).headers.get('x-generation-id')).toBe(id);
    await expectReceiptsToAgree(living, customer.accountId);
  });

  it('is looked at again while the provider is still at it, and given up for nothing in the end', async () => {
    setLimits(dying, { callDeadlineMs: 300 });
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const answer = (await generate(customer, { prompt: 'x [sandbox:hang]' })).expect(503);
    setLimits(dying, { callDeadlineMs: 110_000 });
    const id: string = answer.body.error.generation_id;
    setLimits(living, { recoveryCheckMs: 300 });
    await recover(customer.accountId);
    expect((await customer.client.get(`/v1/generations/${id}`)).body.status).toBe('unresolved');
    expect((await balancesOf(customer)).held).toBe(PRICE_MICROS);
    setLimits(living, { giveUpAfterMs: 0 });
    await recover(customer.accountId);
    setLimits(living, { giveUpAfterMs: 12 * 60_000, recoveryCheckMs: 20_000 });
    const receipt = (await customer.client.get(`/v1/generations/${id}`)).expect(200).body;
    expect(receipt).toMatchObject({ status: 'failed', error_code: 'upstream_timeout', charged_micros: '0' });
    expect(await balancesOf(customer)).toMatchObject({ held: 0n, posted: CREDIT_MICROS });
    await expectReceiptsToAgree(living, customer.accountId);
  });

  it('delivers and charges what was ready in time, and gives the late rest up', async () => {
    setLimits(dying, { callDeadlineMs: 800 });
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const prompt = `${customer.accountId} [sandbox:hang, every=3]`;
    const answer = (await generate(customer, { prompt, n: 3 })).expect(200);
    setLimits(dying, { callDeadlineMs: 110_000 });
    expect(answer.body.data).toHaveLength(2);
    await expectReceiptsToAgree(dying, customer.accountId);
  });
});

describe('recovery', () => {
  it('leaves running calls alone, whose process shows signs of life', async () => {
    setLimits(dying, { leaseRenewalMs: 20 });
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    dying.upstreamClock.stop();
    const call = generate(customer, { prompt: 'x [sandbox:slow=900]' });
    await tasksWritten(customer, 1);
    // Even when its lease had run out: the next sign of life takes it up again.
    await dying.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'`,
    );
    await eventually('the process has shown a sign of life', async () => {
      const sql = `SELECT FROM generations WHERE account_id = $1 AND lease_expires_at > now()`;
      return (await dying.dataSource.query<unknown[]>(sql, [customer.accountId])).length === 1;
    });
    expect(await living.app.get(GenerationRecoveryService).recoverDue()).toBe(0);
    dying.upstreamClock.letPass(900);
    expect((await call).expect(200).body.data).toHaveLength(1);
    dying.upstreamClock.reset();
    setLimits(dying, { leaseRenewalMs: 10_000 });
    await expectReceiptsToAgree(dying, customer.accountId);
  });

  it('is done once, however many processes do it at the same time', async () => {
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = dieAt(engine(), 'execute', 'before', commandIs('capture'));
    const calls = Array.from({ length: 6 }, () => generate(customer));
    await eventually('all of them are about to capture', () => death.stops() === calls.length);
    await tasksWritten(customer, calls.length);
    await living.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'`,
    );
    const recoveries = [living, living, dying, dying].map((service) =>
      service.app.get(GenerationRecoveryService).recoverDue(),
    );
    death.wake();
    const ended = (await Promise.all(recoveries)).reduce((sum, count) => sum + count, 0);
    expect(ended).toBeLessThanOrEqual(6);
    for (const call of calls) (await call).expect(200);
    expect(await capturedMicros(living, customer.accountId)).toBe(6n * PRICE_MICROS);
    await expectReceiptsToAgree(living, customer.accountId);
    await expectBooksToBalance(living.dataSource);
  });

  it('charges an image that was stored before the death, even when the provider is gone by then', async () => {
    const { masterKeys, dataDir } = dying.settings;
    const alone = await startTestApp({ databaseUrl: dying.databaseUrl, settings: { masterKeys, dataDir } });
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = dieAt(media(), 'write', 'after');
    const lost = generate(customer);
    await death.reached;
    await tasksWritten(customer, 1);
    await dying.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'`,
    );
    expect(await alone.app.get(GenerationRecoveryService).recoverDue()).toBe(1);
    expect(await capturedMicros(dying, customer.accountId)).toBe(PRICE_MICROS);
    await expectReceiptsToAgree(dying, customer.accountId);
    death.wake();
    (await lost).expect(200);
    await alone.close();
  });

  it('waits before it fails a call that has no hold yet: its process may be about to make one', async () => {
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = dieAt(engine(), 'execute', 'before', commandIs('authorize'));
    const slow = generate(customer, {}, keyed);
    await death.reached;
    await dying.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'`,
    );
    expect(await living.app.get(GenerationRecoveryService).recoverDue()).toBe(0);
    death.wake();
    (await slow).expect(200);
    await expectReceiptsToAgree(living, customer.accountId);
    await expectBooksToBalance(living.dataSource);
  });

  it('voids a hold whose call died before its row was written, but not a fresh one', async () => {
    const customer = await dying.createCustomer({ grantMicros: CREDIT_MICROS });
    const death = dieAt(provider(), 'submit', 'before');
    const lost = generate(customer);
    await death.reached;
    setLimits(living, { orphanedAfterMs: 60_000 });
    expect(await living.app.get(OrphanedHoldsService).release()).toBe(0);
    expect((await balancesOf(customer)).held).toBe(PRICE_MICROS);
    setLimits(living, { orphanedAfterMs: 0 });
    expect(await living.app.get(OrphanedHoldsService).release()).toBe(1);
    setLimits(living, { orphanedAfterMs: 60_000 });
    expect((await balancesOf(customer)).held).toBe(0n);
    death.wake();
    expect((await lost).status).toBeGreaterThanOrEqual(500);
    await expectReceiptsToAgree(living, customer.accountId);
  });
});

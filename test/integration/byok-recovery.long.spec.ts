import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { toMediaName, MEDIA_STORE, type MediaStore } from '../../src/gateway/images/media/media-store.js';
import { BlackForestLabsProvider } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { GenerationRecordsService } from '../../src/gateway/images/calls/records/generation-records.service.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { MediaRestorationJob } from '../../src/gateway/images/calls/recovery/media-restoration.job.js';
import { RunningGenerationsService } from '../../src/gateway/images/calls/running-generations.service.js';
import {
  ERASED_AFTER_MS,
  ProviderKeyErasureService,
} from '../../src/gateway/provider-keys/upkeep/provider-key-erasure.service.js';
import { dieAt, type Death } from '../support/process/deaths.js';
import { generate, setLimits } from '../fixtures/images.js';
import { attach, makeProviderKey, PROVIDER, walletRowsOf } from '../support/images/provider-keys.js';
import { withClockAhead } from '../support/images/recovery.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

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
afterEach(() => dying.upstreamClock.reset());
afterAll(async () => {
  await living.close();
  await dying.close();
});

const records = () => dying.app.get(GenerationRecordsService);
const media = () => dying.app.get<object>(MEDIA_STORE);
const provider = BlackForestLabsProvider.prototype;

const POINTS: readonly (readonly [place: string, die: () => Death, delivered: number])[] = [
  ['after the row is claimed', () => dieAt(records(), 'claim', 'after'), 0],
  ['before the submit', () => dieAt(provider, 'submit', 'before'), 0],
  ['after the task is written', () => dieAt(provider, 'waitUntilReady', 'before', once()), 1],
  ['after the image is stored', () => dieAt(media(), 'write', 'after'), 1],
  ['before the outcome is written', () => dieAt(records(), 'finish', 'before'), 1],
];

/** Only the first call: the prototype is shared with the process that recovers. */
function once(): () => boolean {
  let isFirst = true;
  return () => {
    const matches = isFirst;
    isFirst = false;
    return matches;
  };
}

async function recover(accountId: string): Promise<void> {
  await living.dataSource.query(
    `UPDATE generations SET lease_expires_at = now() - interval '1 s'
      WHERE account_id = $1 AND status IN ('running', 'unresolved')`,
    [accountId],
  );
  await living.app.get(GenerationRecoveryService).recoverDue();
}

async function customerWithKey(): Promise<{ customer: TestCustomer; key: string }> {
  const customer = await dying.createCustomer();
  const key = makeProviderKey(dying);
  await attach(customer, key);
  return { customer, key };
}

async function tasksOf({ accountId }: TestCustomer): Promise<number> {
  const sql = 'SELECT FROM generation_tasks WHERE account_id = $1 AND task_id IS NOT NULL';
  return (await dying.dataSource.query<unknown[]>(sql, [accountId])).length;
}

const remove = ({ client }: TestCustomer) => client.delete(`/v1/provider_keys/${PROVIDER}`);

async function receiptsOf({ client }: TestCustomer): Promise<Record<string, unknown>[]> {
  return (await client.get('/v1/generations')).expect(200).body.data;
}

describe.each(POINTS)('a process that dies %s over a customer’s own key', (_place, die, delivered) => {
  it('is recovered over that very key although it was removed in the meantime, and no row of money is written', async () => {
    const { customer, key } = await customerWithKey();
    const before = await walletRowsOf(dying, customer.accountId);
    const death = die();
    const lost = generate(customer, {}, keyed);
    await death.reached;
    // Tasks are written concurrently with the call.
    await eventually('its task is written', async () => (await tasksOf(customer)) === delivered);
    (await remove(customer)).expect(200);
    await recover(customer.accountId);
    const receipts = await receiptsOf(customer);
    // Without a key to call by and before any task there is nothing to recover but the claimed row.
    expect(receipts).toMatchObject([
      { status: delivered > 0 ? 'succeeded' : 'failed', billing_mode: 'byok', charged_micros: '0' },
    ]);
    expect(dying.blackForestLabs?.control.countsOf(key).submits).toBeLessThanOrEqual(1);
    if (delivered > 0) {
      const replay = await generate({ client: living.client(customer.apiKey) }, {}, keyed);
      expect(replay.expect(200).headers.get('idempotent-replayed')).toBe('true');
      expect((await fetch(replay.body.data[0].url)).status).toBe(200);
    }
    // It was not dead, only very slow: the image that recovery delivered stays where it is.
    death.wake();
    const late = await lost;
    if (delivered > 0) {
      expect(late.expect(200).headers.get('x-charged-micros')).toBe('0');
      expect((await fetch(late.body.data[0].url)).status).toBe(200);
    }
    expect(await walletRowsOf(dying, customer.accountId)).toEqual(before);
  });
});

describe('recovery over a customer’s own key', () => {
  const unresolved = async () => {
    const made = await customerWithKey();
    setLimits(dying, { callDeadlineMs: 200 });
    dying.upstreamClock.stop();
    (await generate(made.customer, { prompt: 'x [sandbox:slow=500]' }, keyed)).expect(503);
    setLimits(dying, { callDeadlineMs: 110_000 });
    dying.upstreamClock.letPass(500);
    return made;
  };

  it('delivers, for nothing, what the provider did not finish in time, after the key is replaced', async () => {
    const { customer, key } = await unresolved();
    await attach(customer, 'bfl_invalid_successor_of_it');
    await recover(customer.accountId);
    expect(await receiptsOf(customer)).toMatchObject([{ status: 'succeeded', charged_micros: '0' }]);
    expect(dying.blackForestLabs?.control.countsOf(key).submits).toBe(1);
  });

  it('ends for nothing when the key is erased: no process can ask the provider any more', async () => {
    const { customer } = await unresolved();
    (await remove(customer)).expect(200);
    await withClockAhead(dying, ERASED_AFTER_MS + 1_000, async () => {
      await dying.app.get(ProviderKeyErasureService).run();
    });
    await recover(customer.accountId);
    expect(await receiptsOf(customer)).toMatchObject([{ status: 'failed', charged_micros: '0' }]);
  });

  it('goes on when the master key is back: while it is away the call stays open, and is not given up', async () => {
    const { customer } = await unresolved();
    const wrong = [{ id: 'another', key: Buffer.alloc(32, 1) }];
    const { dataDir, blackForestLabs } = dying.settings;
    const keyless = await startTestApp({
      databaseUrl: dying.databaseUrl,
      settings: { masterKeys: wrong, dataDir, blackForestLabs },
    });
    const expire = () =>
      dying.dataSource.query(
        `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE account_id = $1`,
        [customer.accountId],
      );
    await expire();
    expect(await keyless.app.get(GenerationRecoveryService).recoverDue()).toBe(0);
    await keyless.close();
    expect(await receiptsOf(customer)).toMatchObject([{ status: 'unresolved' }]);
    await recover(customer.accountId);
    expect(await receiptsOf(customer)).toMatchObject([{ status: 'succeeded' }]);
  });

  it('fetches an image again that a power failure took, although its key was removed', async () => {
    const { customer } = await customerWithKey();
    const { body } = (await generate(customer)).expect(200);
    await dying.app.get(RunningGenerationsService).recorded(customer.accountId);
    (await remove(customer)).expect(200);
    const [receipt] = await receiptsOf(customer);
    const name = toMediaName({ id: String(receipt?.['id']) }, { position: 0, format: 'jpeg' });
    await dying.app.get<MediaStore>(MEDIA_STORE).remove(name);
    expect((await fetch(body.data[0].url)).status).toBe(404);
    await living.app.get(MediaRestorationJob).run();
    expect((await fetch(body.data[0].url)).status).toBe(200);
  });
});

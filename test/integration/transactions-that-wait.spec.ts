import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { generate } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { eventually } from '../support/processes.js';

/** Events of an account wait for this lock, as they wait for the end of the audit log when somebody else has locked that. */
const HELD_UP = `
  CREATE FUNCTION held_up_by_test() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = '60s' AS $$
    BEGIN
      PERFORM pg_advisory_xact_lock_shared(42, hashtext(coalesce(NEW.account_id, 'none')));
      RETURN NEW;
    END $$;
  CREATE TRIGGER held_up_by_test BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION held_up_by_test()`;

let service: TestApp;
let owner: pg.Client;
let other: TestCustomer;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  owner = new pg.Client({ connectionString: service.databaseUrl });
  await owner.connect();
  await owner.query(HELD_UP);
  other = await service.createCustomer({ grantMicros: 10_000_000n });
});
afterEach(() => void jest.restoreAllMocks());
afterAll(async () => {
  await owner.end();
  try {
    await expectBooksToBalance(service.dataSource);
  } finally {
    await service.close();
  }
});

const customers = (count: number): Promise<TestCustomer[]> =>
  Promise.all(Array.from({ length: count }, () => service.createCustomer({ grantMicros: 1_000_000n })));

async function keyOf({ client }: TestCustomer): Promise<string> {
  return String((await client.get('/v1/api_keys')).expect(200).body.data[0].id);
}

/** While `begin` runs, every recorded action of these accounts waits inside its tx. */
async function whileHeldUp(
  accountIds: readonly string[],
  begin: () => readonly Promise<TestAnswer>[],
  work: () => Promise<void>,
): Promise<void> {
  await owner.query('SELECT pg_advisory_lock(42, hashtext(id)) FROM unnest($1::text[]) AS id', [accountIds]);
  const acts = begin();
  try {
    await eventually('some wait', async () => (await heldUp()) > 0);
    await work();
  } finally {
    await owner.query('SELECT pg_advisory_unlock_all()');
    await Promise.all(acts);
  }
}

/** How many transactions wait in the database. */
async function heldUp(): Promise<number> {
  const { rows } = await owner.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM pg_locks
      WHERE locktype = 'advisory' AND classid = 42 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows[0]?.count ?? 0;
}

/** Everything that makes an image, and what its customer looks at. */
async function expectCallsToBeServed(): Promise<void> {
  const name = randomUUID();
  (await generate(other)).expect(200);
  (await generate(other, {}, { 'idempotency-key': name })).expect(200);
  (await generate(other, {}, { 'idempotency-key': name })).expect(200);
  (await generate(other, { prompt: name }, { 'x-stainless-retry-count': '1' })).expect(200);
  (await other.client.get('/v1/wallet')).expect(200);
  (await other.client.get('/v1/api_keys')).expect(200);
  const debit = { account: other.accountId, reference: name, amount_micros: '1' };
  (await service.operator.post('/v1/debits', debit)).expect(201);
  (await service.client(null).get('/health/ready')).expect(200);
}

describe('image calls, wallets and debits are served at once while transactions wait', () => {
  it('for the ledger: changes of spend limits of more accounts than there are connections', async () => {
    const waiting = await customers(service.settings.databasePoolSize + 3);
    const keys = await Promise.all(waiting.map(keyOf));
    const engine = service.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    let letGo = (): void => undefined;
    const opened = new Promise<void>((resolve) => (letGo = resolve));
    let begun = 0;
    let answered = 0;
    jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
      if (command.type === 'setKeyBudget') {
        begun += 1;
        await opened;
      }
      return execute(command);
    });
    const changes = waiting.map(({ client }, index) =>
      client.send('PATCH', `/v1/api_keys/${keys[index]}`, {
        body: { spend_limits: { day_micros: '40000' } },
      }),
    );
    for (const change of changes) void change.then(({ status }) => (answered += status === 200 ? 1 : 0));
    try {
      await eventually('the ledger has some', () => begun > 0);
      await expectCallsToBeServed();
      expect(answered).toBe(0);
    } finally {
      letGo();
      await Promise.all(changes);
    }
    expect(answered).toBeGreaterThan(0);
  });

  it('for the audit log: every act of customers and operators, and what operators read', async () => {
    const waiting = await customers(8);
    const keys = await Promise.all(waiting.map(keyOf));
    const webhook = { url: 'https://example.com/hook', events: ['top_up.succeeded'] };
    const begin = () =>
      waiting.flatMap(({ client, accountId }, index) => [
        client.post('/v1/api_keys', { name: 'made', scopes: ['generate'] }),
        client.send('PATCH', `/v1/api_keys/${keys[index]}`, { body: { duplicate_window_seconds: 3 } }),
        client.post('/v1/webhook_endpoints', webhook),
        client.send('PUT', '/v1/provider_keys/black_forest_labs', { body: { key: 'bfl_0123456789abcdef' } }),
        service.operator.delete(`/v1/accounts/${accountId}/api_keys/${keys[index]}`),
        service.operator.get(`/v1/accounts/${accountId}/wallet`),
      ]);
    await whileHeldUp(
      waiting.map(({ accountId }) => accountId),
      begin,
      async () => {
        await expectCallsToBeServed();
        expect(await heldUp()).toBeGreaterThan(0);
      },
    );
  });
});

describe('acts', () => {
  it('of one account leave those of other accounts and of operators connections, however many of them wait', async () => {
    const [flooding] = (await customers(1)) as [TestCustomer];
    const begin = () =>
      Array.from({ length: 20 }, () =>
        flooding.client.send('PUT', '/v1/provider_keys/black_forest_labs', {
          body: { key: 'bfl_0123456789abcdef' },
        }),
      );
    await whileHeldUp([flooding.accountId], begin, async () => {
      (await other.client.post('/v1/api_keys', { name: 'made', scopes: ['generate'] })).expect(201);
      (await service.operator.post('/v1/accounts', { name: 'made' })).expect(201);
      expect(await heldUp()).toBeGreaterThan(0);
    });
  });

  it('of operators find a connection while those of customers have all that customers may have', async () => {
    const waiting = await customers(6);
    const begin = () =>
      waiting.flatMap(({ client }) => [
        client.post('/v1/api_keys', { name: 'one', scopes: ['generate'] }),
        client.post('/v1/api_keys', { name: 'two', scopes: ['generate'] }),
      ]);
    await whileHeldUp(
      waiting.map(({ accountId }) => accountId),
      begin,
      async () => {
        (await service.operator.post('/v1/accounts', { name: 'made' })).expect(201);
        expect(await heldUp()).toBeGreaterThan(0);
      },
    );
  });

  it('that meet a row which somebody else holds are answered 503, changed nothing, and work when they are sent again', async () => {
    const [customer] = (await customers(1)) as [TestCustomer];
    const id = await keyOf(customer);
    const change = () =>
      customer.client.send('PATCH', `/v1/api_keys/${id}`, { body: { duplicate_window_seconds: 3 } });
    await owner.query('BEGIN');
    await owner.query('SELECT FROM api_keys WHERE id = $1 FOR UPDATE', [id]);
    const refused = (await change()).expect(503);
    await owner.query('ROLLBACK');
    expect(refused.body.error).toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('Nothing was charged. Send it again shortly.'),
    });
    expect(refused.headers.get('retry-after')).toBe('1');
    const { body } = (await customer.client.get(`/v1/api_keys/${id}`)).expect(200);
    expect(body.duplicate_window_seconds).toBe(0);
    (await change()).expect(200);
  });
});

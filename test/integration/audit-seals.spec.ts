import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Client } from 'pg';
import { newAuditEvent } from '../../src/identity/audit-log/audit-event.js';
import { AuditLog } from '../../src/identity/audit-log/audit-log.service.js';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { WalletStore } from '../../src/money/wallets/store/wallet-store.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { CleanUp } from '../support/clean-up.js';
import { answerOf } from '../support/database/engine.js';
import { whileHeadIsHeld } from '../support/database/held-audit-head.js';
import { eventually } from '../support/processes.js';

const IMAGE = 40_000n;
const cleanUp = new CleanUp();
/** Two processes over one database. No jobs run in them. */
let app: TestApp;
let twin: TestApp;
let owner: Client;
let accountIds: readonly string[];

beforeAll(async () => {
  app = await startTestApp();
  cleanUp.add(() => app.close());
  twin = await startTestApp({
    databaseUrl: app.databaseUrl,
    settings: { operatorKey: app.operatorKey, masterKeys: app.settings.masterKeys },
  });
  cleanUp.add(() => twin.close());
  owner = new Client({ connectionString: app.databaseUrl });
  await owner.connect();
  cleanUp.add(() => owner.end());
});
beforeEach(async () => {
  const customers = Array.from({ length: 8 }, () => app.createCustomer({ grantMicros: 100n * IMAGE }));
  accountIds = (await Promise.all(customers)).map(({ accountId }) => accountId);
});
afterAll(async () => {
  try {
    await expectBooksToBalance(app.dataSource);
  } finally {
    await cleanUp.run();
  }
});

const entry = (object: string) => ({ act: 'account.read', object, account: null }) as const;

/** The objects of sealed events, in the order of the chain, of those that begin so. */
async function sealedObjects(prefix: string): Promise<string[]> {
  const { rows } = await owner.query<{ object: string }>(
    `SELECT e.object_id AS object FROM audit_seals s JOIN audit_events e ON e.number = s.event_number
      WHERE starts_with(e.object_id, $1) ORDER BY s.seq`,
    [prefix],
  );
  return rows.map(({ object }) => object);
}

async function expectWholeChain(): Promise<void> {
  const { rows } = await owner.query(
    `SELECT (SELECT count(*) FROM audit_events) AS events, count(*) AS seals, max(seq) AS last,
            (SELECT seq FROM audit_head) AS head FROM audit_seals`,
  );
  const [{ events, ...rest }] = rows as [{ events: string }];
  expect(rest).toEqual({ seals: events, last: events, head: events });
  const found = await findDiscrepancies(app.dataSource);
  expect(found.filter(({ table }) => table.startsWith('audit_'))).toEqual([]);
}

/** The server processes that wait for another one's lock: here, for the end of the chain, as their tx commits. */
async function waitingForHead(): Promise<readonly number[]> {
  const { rows } = await owner.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'`,
  );
  return rows.map(({ pid }) => pid);
}

const debit = (accountId: string, reference: string): WalletCommand => ({
  type: 'debit',
  keyId: null,
  accountId,
  actor: 'test',
  reference: `debit:${reference}`,
  fingerprint: '',
  memo: null,
  amountMicros: micros(IMAGE),
});

const grant = (accountId: string, reference: string): WalletCommand => ({
  type: 'grant',
  accountId,
  actor: 'test',
  audit: newAuditEvent('system', {
    act: 'credit.granted',
    object: reference,
    account: accountId,
    reason: 'a test',
  }),
  reference: `grant:${reference}`,
  fingerprint: '',
  memo: null,
  lotId: newId('creditLot'),
  amountMicros: micros(IMAGE),
  priority: 0,
  expiresAtMs: null,
});

const send = (command: WalletCommand, at = app) => answerOf(at.app.get(WalletEngine).execute(command));

describe('an act', () => {
  it('has its place in the chain as soon as it is answered, and no job is needed for it', async () => {
    const [accountId = ''] = accountIds;
    const account = `/v1/accounts/${accountId}`;
    for (const [path, body] of [
      [`${account}/grants`, { amount_micros: '1000000', reason: 'a gift' }],
      [`${account}/freeze`, { reason: 'fraud' }],
      [`${account}/unfreeze`, { reason: 'no fraud' }],
      [`${account}/api_keys`, { name: 'another', scopes: ['generate'] }],
      ['/v1/accounts', { name: 'Another' }],
    ] as const) {
      const answer = await app.operator.post(path, body);
      expect([200, 201]).toContain(answer.status);
      const { body: log } = (await app.operator.get('/v1/audit_log?limit=1')).expect(200);
      expect(log.data[0]).toMatchObject({
        request_id: answer.headers.get('x-request-id'),
        seq: expect.stringMatching(/^\d+$/),
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    }
    (await app.operator.get(`${account}/wallet`)).expect(200);
    await expectWholeChain();
  });

  it('leaves neither an event nor a gap in the chain when its tx is rolled back', async () => {
    const { rows } = await owner.query('SELECT * FROM audit_head');
    const rolledBack = app.app.get(TransactionRunner).run(async (tx) => {
      await app.app.get(AuditLog).record(tx, 'system', entry('rolled back'));
      throw new Error('it changed its mind');
    });
    await expect(rolledBack).rejects.toThrow('it changed its mind');
    expect((await owner.query('SELECT * FROM audit_head')).rows).toEqual(rows);
    await expectWholeChain();
  });

  it('comes in the chain in the order of commits, and with several events in the order of these', async () => {
    const log = app.app.get(AuditLog);
    // Took its number first, and commits last.
    const late = app.dataSource.createQueryRunner();
    await late.connect();
    await late.startTransaction();
    await log.record(late.manager, 'system', entry('order: late'));
    await app.app.get(TransactionRunner).run(async (tx) => {
      for (const object of ['order: b', 'order: a', 'order: c'])
        await log.record(tx, 'system', entry(object));
    });
    await log.note('system', entry('order: d'));
    await late.commitTransaction();
    await late.release();
    expect(await sealedObjects('order: ')).toEqual([
      'order: b',
      'order: a',
      'order: c',
      'order: d',
      'order: late',
    ]);
    await expectWholeChain();
  });

  it('is listed in the order of beginnings, where one that is committed late comes below others; by `seq` it is in its place', async () => {
    const late = app.dataSource.createQueryRunner();
    await late.connect();
    await late.startTransaction();
    await app.app.get(AuditLog).record(late.manager, 'system', entry('listed: late'));
    await app.app.get(AuditLog).note('system', entry('listed: early'));
    await late.commitTransaction();
    await late.release();
    const { body } = (await app.operator.get('/v1/audit_log?actor=system&limit=2')).expect(200);
    const listed = body.data as { object_id: string; seq: string }[];
    expect(listed.map(({ object_id: object }) => object)).toEqual(['listed: early', 'listed: late']);
    const inChain = listed.sort((a, b) => Number(a.seq) - Number(b.seq));
    expect(inChain.map(({ object_id: object }) => object)).toEqual(await sealedObjects('listed: '));
    expect(inChain[1]?.object_id).toBe('listed: late');
  });

  it('is in one chain without a gap with all others, however many commit at once in two processes', async () => {
    const all = [app, twin].flatMap((process, turn) =>
      Array.from({ length: 60 }, async (_, index) => {
        const object = `race: ${turn}.${index}`;
        const accountId = accountIds[index % accountIds.length] ?? '';
        if (index % 3 === 0) return process.app.get(AuditLog).note('system', entry(object));
        // On a busy machine its first answer may come too late: then it is found done.
        if (index % 3 === 1)
          return expect(['ok', 'again']).toContain(await send(grant(accountId, object), process));
        return process.app.get(TransactionRunner).run(async (tx) => {
          for (const part of ['a', 'b']) {
            await process.app.get(AuditLog).record(tx, 'system', entry(`${object}${part}`));
          }
        });
      }),
    );
    const debits = accountIds.map((accountId) => send(debit(accountId, 'concurrent')));
    await Promise.all([...all, ...debits]);
    expect(await sealedObjects('race: ')).toHaveLength(2 * (20 + 20 + 40));
    await expectWholeChain();
  });

  it('is done once with one event when its server process ends inside COMMIT, and sent again', async () => {
    const [accountId = ''] = accountIds;
    await whileHeadIsHeld(app.databaseUrl, async (release) => {
      const noted = app.app.get(AuditLog).note('system', entry('killed: noted'));
      const lost = expect(noted).rejects.toThrow();
      const key = { 'idempotency-key': 'killed' };
      const body = { amount_micros: '1000000', reason: 'killed: granted' };
      const granted = app.operator.post(`/v1/accounts/${accountId}/grants`, body, key);
      await eventually('both wait', async () => (await waitingForHead()).length === 2);
      // The service's login may end its own sessions.
      const kill = `SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid`;
      await app.dataSource.query(kill, [await waitingForHead()]);
      await lost;
      await release();
      (await granted).expect(201);
      (await app.operator.post(`/v1/accounts/${accountId}/grants`, body, key)).expect(201);
    });
    expect(await sealedObjects('killed: ')).toEqual([]);
    const { body: log } = (await app.operator.get(`/v1/audit_log?account=${accountId}`)).expect(200);
    const reasons = (log.data as { reason: string | null }[]).map(({ reason }) => reason);
    expect(reasons.filter((reason) => reason === 'killed: granted')).toHaveLength(1);
    await expectWholeChain();
  });
});

describe('while a session holds the end of the chain', () => {
  it('spending goes on and shares no commit with an act; the act waits, and is done when the end is free', async () => {
    const [waiting = '', ...others] = accountIds;
    const batches = jest.spyOn(WalletStore.prototype, 'run');
    try {
      await whileHeadIsHeld(app.databaseUrl, async (release) => {
        const acts = [app, twin].map((process, index) => send(grant(waiting, `held ${index}`), process));
        for (const round of [1, 2, 3]) {
          const debits = others.map((accountId) => send(debit(accountId, `held ${round}`)));
          expect(new Set(await Promise.all(debits))).toEqual(new Set(['ok']));
        }
        await eventually('an act waits inside COMMIT', async () => (await waitingForHead()).length > 0);
        await release();
        expect(await Promise.all(acts)).toEqual(['ok', 'ok']);
      });
      for (const [commands] of batches.mock.calls) {
        expect(new Set(commands.map(({ audit }) => audit !== undefined)).size).toBe(1);
      }
    } finally {
      batches.mockRestore();
    }
    await expectWholeChain();
  });

  it('an act that cannot wait any longer is refused with 503, says that nothing was changed, and that is so', async () => {
    const [accountId = ''] = accountIds;
    const path = `/v1/accounts/${accountId}/api_keys`;
    const before = (await app.operator.get(path)).expect(200).body.data;
    await whileHeadIsHeld(app.databaseUrl, async () => {
      const refused = await app.operator.post(path, { name: 'unrecorded', scopes: ['generate'] });
      expect(refused.expect(503).body.error).toMatchObject({
        code: 'database_unavailable',
        message: expect.stringContaining('Nothing was changed'),
      });
      // What was not recorded is not shown.
      (await app.operator.get(`/v1/accounts/${accountId}/wallet`)).expect(503);
    });
    expect((await app.operator.get(path)).expect(200).body.data).toEqual(before);
    await expectWholeChain();
  });

  it('no act that still has something to say holds up another: a paused tx has no part of the chain yet', async () => {
    const log = app.app.get(AuditLog);
    const paused = app.dataSource.createQueryRunner();
    await paused.connect();
    await paused.startTransaction();
    await log.record(paused.manager, 'system', entry('paused'));
    await twin.app.get(AuditLog).note('system', entry('not paused'));
    await paused.rollbackTransaction();
    await paused.release();
    await expectWholeChain();
  });
});

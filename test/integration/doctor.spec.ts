import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import type { Discrepancy } from '../../src/finance/audit/proof/discrepancy.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { TestBooks } from '../support/database/test-books.js';

let books: TestBooks;
let accountId: string;

beforeAll(async () => {
  books = await TestBooks.open();
  accountId = await books.playEverything();
  await books.playEverything();
  await books.account('Never used');
  await books.owner.query(PULL_ALL_TEETH);
});
afterAll(() => books.close());

/** With no constraint, key or trigger left, every row can be changed, and only the doctor notices. */
const PULL_ALL_TEETH = `
  ALTER TABLE transfers DISABLE TRIGGER USER;
  ALTER TABLE wallets DISABLE TRIGGER USER;
  ALTER TABLE wallet_freezes DISABLE TRIGGER USER; ALTER TABLE credit_lots DISABLE TRIGGER USER;
  ALTER TABLE holds DISABLE TRIGGER USER;
  ALTER TABLE top_ups DISABLE TRIGGER USER;
  ALTER TABLE refunds DISABLE TRIGGER USER;
  ALTER TABLE generations DISABLE TRIGGER USER;
  DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT conrelid::regclass AS tab, conname FROM pg_constraint
              WHERE conrelid IN ('transfers'::regclass, 'wallets'::regclass, 'credit_lots'::regclass, 'holds'::regclass,
                                 'top_ups'::regclass, 'refunds'::regclass, 'generations'::regclass, 'generation_tasks'::regclass)
                AND contype IN ('c', 'f', 'u', 'p') ORDER BY contype = 'p'
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', c.tab, c.conname); END LOOP;
  END $$`;

/** Does harm, asks the doctor, and undoes it. */
async function afterHarm(sql: string, values: readonly unknown[] = []): Promise<Discrepancy[]> {
  const walletTables = ['transfers', 'wallets', 'credit_lots', 'holds', 'wallet_freezes'];
  const tables = [
    ...walletTables,
    'wallet_status_changes',
    'top_ups',
    'refunds',
    'generations',
    'generation_tasks',
  ];
  await books.owner.query(tables.map((table) => `CREATE TABLE saved_${table} AS TABLE ${table}`).join(';'));
  try {
    const { rowCount } = await books.owner.query(sql, [...values]);
    if (rowCount === 0) throw new Error('nothing was harmed');
    return await findDiscrepancies(books.dataSource);
  } finally {
    for (const table of tables) {
      const columns = table === 'credit_lots' ? LOT_COLUMNS : '*';
      const into = columns === '*' ? table : `${table} (${columns})`;
      await books.owner.query(`DELETE FROM ${table}`);
      await books.owner.query(`INSERT INTO ${into} SELECT ${columns} FROM saved_${table}`);
      await books.owner.query(`DROP TABLE saved_${table}`);
    }
  }
}

/** Without `live`, which the database computes. */
const LOT_COLUMNS =
  'account_id, id, kind, source, refundable, granted_micros, remaining_micros, priority, expires_at, created_at';

function rowsNamed(discrepancies: readonly Discrepancy[]): string[] {
  return [...new Set(discrepancies.map(({ table, key }) => `${table} ${key}`))];
}

describe('the doctor', () => {
  it('finds nothing wrong with books that only the engine wrote', async () => {
    await expectBooksToBalance(books.dataSource);
  });

  it('has been shown every kind of event, debt and its repayment included', async () => {
    const { rows } = await books.owner.query<{ kinds: string[]; owed: string; repaid: string }>(
      `SELECT array_agg(DISTINCT kind) AS kinds,
              count(*) FILTER (WHERE debit_account = 'customer_credit' AND lot_id IS NULL) AS owed,
              (SELECT count(*) FROM credit_lots WHERE source = 'reinstatement' AND remaining_micros < granted_micros) AS repaid
         FROM transfers`,
    );
    const customers = [
      'adjustment',
      'capture',
      'debit',
      'dispute',
      'dispute_fee',
      'expiry',
      'grant',
      'refund',
    ];
    const further = [
      'refund_fee',
      'reinstatement',
      'reinstatement_fee',
      'top_up',
      'top_up_fee',
      'top_up_tax',
      'write_off',
    ];
    expect(rows[0]?.kinds).toEqual([...customers, ...further]);
    expect(Number(rows[0]?.owed)).toBeGreaterThan(0);
    expect(Number(rows[0]?.repaid)).toBeGreaterThan(0);
  });

  it('finds nothing wrong while the engine is writing', async () => {
    const busy = await TestBooks.open();
    try {
      const account = await busy.account();
      await busy.topUp(account, 100_000_000n);
      let running = true;
      const charges = (async () => {
        while (running) await Promise.all(Array.from({ length: 20 }, () => busy.debit(account, 1n)));
      })();
      for (let round = 0; round < 20; round += 1) await expectBooksToBalance(busy.dataSource);
      running = false;
      await charges;
    } finally {
      await busy.close();
    }
  });
});

describe('a changed transfer', () => {
  const seq = 9;
  const key = () => `transfers account_id=${accountId} seq=${seq}`;
  const change = (assignment: string) =>
    afterHarm(`UPDATE transfers SET ${assignment} WHERE account_id = $1 AND seq = $2`, [accountId, seq]);

  it.each([
    ['id', `id = id || 'x'`],
    ['kind', `kind = 'capture'`],
    ['debit_account', `debit_account = 'customer_credit'`],
    ['credit_account', `credit_account = 'bank'`],
    ['amount_micros', `amount_micros = amount_micros + 1`],
    ['lot_id', `lot_id = 'lot_other'`],
    ['posted_after_micros', `posted_after_micros = posted_after_micros + 1`],
    ['reference', `reference = reference || 'x'`],
    ['leg', `leg = 1`],
    ['link_id', `link_id = 'lnk_other'`],
    ['actor', `actor = 'operator_key:key_other'`],
    ['memo', `memo = coalesce(memo, '') || ' '`],
    ['created_at', `created_at = created_at + interval '1 millisecond'`],
    ['hash', `hash = sha256('forged')`],
  ])('is named when its %s is not what was written', async (_column, assignment) => {
    expect(rowsNamed(await change(assignment))).toContain(key());
  });

  it.each([
    ['memo', `memo = 'forged'`],
    ['hash', `hash = sha256('forged')`],
    ['posted_after_micros', `posted_after_micros = 1`],
    ['created_at', `created_at = '2030-01-01'`],
    ['reference', `reference = 'forged'`],
  ])('is the only row named when just its %s was changed', async (_column, assignment) => {
    expect(rowsNamed(await change(assignment))).toEqual([key()]);
  });

  it('is found in the place that its changed seq or account gives it, and missed where it was', async () => {
    expect(rowsNamed(await change('seq = 900'))).toEqual(
      expect.arrayContaining([
        `transfers account_id=${accountId} seq=10`,
        `transfers account_id=${accountId} seq=900`,
      ]),
    );
    expect(rowsNamed(await change(`account_id = 'acct_nobody'`))).toEqual(
      expect.arrayContaining([
        `transfers account_id=${accountId} seq=10`,
        `transfers account_id=acct_nobody seq=${seq}`,
        'wallets account_id=acct_nobody',
      ]),
    );
  });

  it('is missed when it was deleted: from the middle, from the end, or with its whole chain', async () => {
    const remove = (condition: string) =>
      afterHarm(`DELETE FROM transfers WHERE account_id = $1 AND ${condition}`, [accountId]);
    const wallet = `wallets account_id=${accountId}`;
    expect(rowsNamed(await remove('seq = 9'))).toEqual(
      expect.arrayContaining([`transfers account_id=${accountId} seq=10`, wallet]),
    );
    expect(rowsNamed(await remove('seq = (SELECT max(seq) FROM transfers WHERE account_id = $1)'))).toContain(
      wallet,
    );
    expect(rowsNamed(await remove('true'))).toContain(wallet);
  });

  it('is named when it was written twice under a new seq, so that a charge counts double', async () => {
    const copy = `
      INSERT INTO transfers SELECT account_id, (SELECT max(seq) + 1 FROM transfers WHERE account_id = $1), id, kind,
             debit_account, credit_account, amount_micros, lot_id, posted_after_micros, reference, leg, link_id, actor,
             memo, created_at, hash FROM transfers WHERE account_id = $1 AND seq = $2`;
    const named = rowsNamed(await afterHarm(copy, [accountId, seq]));
    expect(named).toContain(`wallets account_id=${accountId}`);
    expect(named.some((row) => row.startsWith('transfers') && !row.endsWith(' seq=9'))).toBe(true);
  });
});

describe('a changed wallet', () => {
  const change = (assignment: string) =>
    afterHarm(`UPDATE wallets SET ${assignment} WHERE account_id = $1`, [accountId]);

  it.each([
    ['posted_micros', `posted_micros = posted_micros + 40000`],
    ['held_micros', `held_micros = 0`],
    ['debt_micros', `debt_micros = debt_micros + 1`],
    ['seq', `seq = seq + 1`],
    ['head_hash', `head_hash = sha256('forged')`],
    ['head_at', `head_at = head_at + interval '1 millisecond'`],
    ['status', `status = 'frozen'`],
    ['posted_micros', `floor_micros = 1000000000000`],
  ])('is the only row named, with what its %s should be', async (column, assignment) => {
    const discrepancies = await change(assignment);
    expect(rowsNamed(discrepancies)).toEqual([`wallets account_id=${accountId}`]);
    expect(discrepancies[0]).toMatchObject({ column });
  });

  it('is missed under its account when it was moved to another, or deleted', async () => {
    for (const sql of [
      `UPDATE wallets SET account_id = 'acct_nobody' WHERE account_id = $1`,
      'DELETE FROM wallets WHERE account_id = $1',
    ]) {
      expect(rowsNamed(await afterHarm(sql, [accountId]))).toContain(`wallets account_id=${accountId}`);
    }
  });

  it('is named when a reason to freeze it is in force, and it is not frozen', async () => {
    const sql =
      'UPDATE wallet_freezes SET (lifted_at, lifted_by, lifted_reason) = (NULL, NULL, NULL) WHERE account_id = $1';
    expect(rowsNamed(await afterHarm(sql, [accountId]))).toEqual([`wallets account_id=${accountId}`]);
  });

  it('is named when a disputed wallet was unfrozen without a record of who did it', async () => {
    const discrepancies = await afterHarm('DELETE FROM wallet_status_changes WHERE account_id = $1', [
      accountId,
    ]);
    expect(rowsNamed(discrepancies)).toEqual([`wallets account_id=${accountId}`]);
  });
});

describe('a changed lot', () => {
  const pick = (condition: string) =>
    books.owner
      .query<{ id: string }>(
        `SELECT id FROM credit_lots WHERE account_id = $1 AND ${condition} ORDER BY id LIMIT 1`,
        [accountId],
      )
      .then(({ rows }) => rows[0]?.id as string);

  it.each([
    ['remaining_micros', 'live', `remaining_micros = remaining_micros - 1`],
    ['remaining_micros', 'NOT live', `remaining_micros = 1`],
    ['remaining_micros', 'live', `remaining_micros = 0`],
    ['granted_micros', 'live', `granted_micros = granted_micros + 1`],
    ['kind', 'live', `kind = 'promotional'`],
    ['source', 'live', `source = 'grant'`],
    ['created_at', 'live', `created_at = created_at + interval '1 second'`],
    ['refundable', `source = 'adjustment'`, `refundable = true`],
    ['id', 'live', `id = 'lot_other'`],
    ['account_id', 'live', `account_id = 'acct_nobody'`],
    ['expires_at', `source = 'grant'`, `expires_at = expires_at + interval '1 year'`],
    ['expires_at', `source = 'grant'`, `expires_at = NULL`],
  ])('is named when its %s is not what the ledger says (%s)', async (_column, condition, assignment) => {
    const id = await pick(condition);
    const sql = `UPDATE credit_lots SET ${assignment} WHERE account_id = $1 AND id = $2`;
    expect(rowsNamed(await afterHarm(sql, [accountId, id]))).toContain(
      `credit_lots account_id=${accountId} id=${id}`,
    );
  });

  it('is missed when it was deleted, spent or not', async () => {
    for (const condition of ['live', 'NOT live']) {
      const id = await pick(condition);
      const named = rowsNamed(
        await afterHarm('DELETE FROM credit_lots WHERE account_id = $1 AND id = $2', [accountId, id]),
      );
      expect(named).toContain(`credit_lots account_id=${accountId} id=${id}`);
    }
  });
});

describe('a changed hold', () => {
  it.each([
    ['amount_micros', 'authorized', `amount_micros = amount_micros + 1`],
    ['captured_micros', 'captured', `captured_micros = captured_micros - 1`],
    ['captured_micros', 'voided', `captured_micros = 1`],
    ['status', 'captured', `status = 'voided', captured_micros = 0`],
    ['status', 'captured', `status = 'expired'`],
    ['status', 'voided', `status = 'authorized', resolved_at = NULL`],
    ['status', 'expired', `status = 'captured'`],
    ['status', 'authorized', `status = 'voided', resolved_at = now()`],
    ['resolved_at', 'voided', `resolved_at = NULL`],
    ['resolved_at', 'voided', `resolved_at = created_at - interval '1 second'`],
    ['resolved_at', 'authorized', `resolved_at = now()`],
    ['id', 'captured', `id = 'hold_other'`],
    ['account_id', 'captured', `account_id = 'acct_nobody'`],
  ])('is named when its %s cannot be (it was %s)', async (_column, status, assignment) => {
    const { rows } = await books.owner.query<{ id: string }>(
      'SELECT id FROM holds WHERE account_id = $1 AND status = $2 LIMIT 1',
      [accountId, status],
    );
    const id = rows[0]?.id as string;
    const sql = `UPDATE holds SET ${assignment} WHERE account_id = $1 AND id = $2`;
    const named = rowsNamed(await afterHarm(sql, [accountId, id]));
    // A hold whose amount is wrong shows where the open holds are summed up.
    const places = [`holds account_id=${accountId} id=${id}`, `wallets account_id=${accountId}`];
    expect(named.some((row) => places.includes(row))).toBe(true);
  });

  it('is missed when it was deleted after its capture', async () => {
    const named = rowsNamed(
      await afterHarm(`DELETE FROM holds WHERE account_id = $1 AND status = 'captured'`, [accountId]),
    );
    expect(named).toEqual([expect.stringMatching(`^holds account_id=${accountId} id=hold_`)]);
  });
});

describe('a top-up that disagrees with the ledger', () => {
  it.each([
    ['its credit', `credit_micros = credit_micros + 1`],
    ['its fee', `fee_micros = fee_micros + 1`],
    ['its lot', `lot_id = 'lot_other'`],
    ['its state, an hour after the credit came', `status = 'expired', paid_at = NULL`],
    ['the credit that is not there', `id = 'tu_other'`],
  ])('is named for %s', async (_what, assignment) => {
    const change = `UPDATE top_ups SET ${assignment} WHERE account_id = $1`;
    const named = rowsNamed(await afterHarm(change, [accountId]));
    expect(named).toContainEqual(expect.stringMatching(`^top_ups account_id=${accountId} id=tu_`));
  });

  it('is missed when credit came in without one', async () => {
    const named = rowsNamed(await afterHarm('DELETE FROM top_ups WHERE account_id = $1', [accountId]));
    expect(named).toEqual([expect.stringMatching(`^top_ups account_id=${accountId} id=tu_`)]);
  });
});

describe('a refund that disagrees with the ledger', () => {
  it.each([
    ['its credit', `credit_micros = credit_micros + 1`],
    ['its fee', `fee_micros = fee_micros + 1`],
    ['a failure that gave nothing back, an hour ago', `status = 'failed'`],
    ['a refusal that took something', `status = 'refused'`],
    ['what it took, which is not there', `id = 're_other'`],
  ])('is named for %s', async (_what, assignment) => {
    const change = `UPDATE refunds SET ${assignment} WHERE account_id = $1`;
    const named = rowsNamed(await afterHarm(change, [accountId]));
    expect(named).toContainEqual(expect.stringMatching(`^refunds account_id=${accountId} id=re_`));
  });

  it('is missed when credit went back without one', async () => {
    const named = rowsNamed(await afterHarm('DELETE FROM refunds WHERE account_id = $1', [accountId]));
    expect(named).toEqual([expect.stringMatching(`^refunds account_id=${accountId} id=re_`)]);
  });
});

describe('a generation that disagrees with its hold', () => {
  /** A finished call of three images at 40,000, on the story's captured hold of 120,000. */
  const CALL = `
    WITH call AS (
      INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested,
                               width, height, response_format, output_format, fingerprint, media_key_id, status,
                               lease_expires_at, hold_id, images_delivered, charged_micros, created_at, finished_at)
      SELECT account_id, 'gen_1', 'key_1', 'req_1', 'm', 'price_1', 40000, 4, 1024, 1024, 'url', 'png', '', '',
             'succeeded', created_at, id, 3, 120000, created_at, resolved_at
        FROM holds WHERE account_id = $1 AND status = 'captured' RETURNING *)
    INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, status, bytes, created_at, finished_at)
    SELECT account_id, id, position, 1, 'p', 'delivered', 1, created_at, finished_at FROM call, generate_series(0, 2) AS position`;

  beforeAll(() => books.owner.query(CALL, [accountId]));

  it('is not named while they agree', async () => {
    await expectBooksToBalance(books.dataSource);
  });

  it.each([
    ['charging more than was captured', `UPDATE generations SET charged_micros = 160000`],
    ['charging less than was captured', `UPDATE generations SET charged_micros = 80000`],
    ['counting an image that was not delivered', `UPDATE generations SET images_delivered = 4`],
    [
      'a delivered image that it does not count',
      `UPDATE generation_tasks SET status = 'failed' WHERE position = 1`,
    ],
    ['a hold that is not its own', `UPDATE generations SET hold_id = 'hold_other'`],
    [
      'being unfinished an hour after its capture',
      `UPDATE generations SET finished_at = NULL, status = 'running'`,
    ],
  ])('is named for %s', async (_what, sql) => {
    const named = rowsNamed(await afterHarm(sql));
    expect(named).toEqual([`generations account_id=${accountId} id=gen_1`]);
  });

  it('is missed when a hold of the images API was captured without one', async () => {
    const orphan = `UPDATE holds SET reference = 'generation:gen_9', id = id WHERE account_id = $1 AND status = 'captured'`;
    expect(
      rowsNamed(await afterHarm(`WITH gone AS (DELETE FROM generations) ${orphan}`, [accountId])),
    ).toEqual([`generations account_id=${accountId} id=gen_9`]);
  });
});

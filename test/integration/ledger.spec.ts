import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  LEDGER_ACCOUNTS,
  PLATFORM_KINDS,
  POSTING_RULES,
  type CanonicalFields,
  canonicalRow,
  chainHash,
  GENESIS_HASH,
  transferId,
} from '../../src/money/ledger/transfer.js';
import { EXPORT_COLUMNS } from '../../src/money/ledger/export/export-format.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { TestBooks } from '../support/database/test-books.js';
import { startTestApp } from '../support/app/test-app.js';

let books: TestBooks;
let accountId: string;

beforeAll(async () => {
  books = await TestBooks.open();
  accountId = await books.playEverything();
});
afterAll(async () => {
  await expectBooksToBalance(books.dataSource);
  await books.close();
});

describe('a row of the ledger', () => {
  it.each(['UPDATE transfers SET memo = memo', 'DELETE FROM transfers', 'TRUNCATE transfers CASCADE'])(
    'is not changed even by the owner of the table: %s',
    async (sql) => {
      await expect(books.owner.query(sql)).rejects.toMatchObject({
        message: expect.stringContaining('ledger rows are never changed'),
        code: '23000',
      });
    },
  );

  it.each([
    'UPDATE transfers SET memo = memo',
    'DELETE FROM transfers',
    'TRUNCATE transfers',
    'ALTER TABLE transfers DISABLE TRIGGER ALL',
    'DROP TRIGGER transfers_append_only ON transfers',
    'ALTER TABLE transfers DROP CONSTRAINT transfers_posting_rule',
    'UPDATE wallet_status_changes SET reason = reason',
    'DELETE FROM wallet_status_changes',
    'DELETE FROM wallets',
    'DELETE FROM credit_lots',
    'DELETE FROM holds',
    'DELETE FROM debt_reliefs',
    'UPDATE debt_reliefs SET amount_micros = 1',
    'CREATE TABLE elsewhere (id int)',
  ])('is beyond the rights of the role that the service runs as: %s', async (sql) => {
    await expect(books.dataSource.query(sql)).rejects.toMatchObject({ driverError: { code: '42501' } });
  });

  it('keeps a reference unique without end, for every writer', async () => {
    const copy = `
      INSERT INTO transfers SELECT account_id, seq + 1000, id, kind, debit_account, credit_account, amount_micros, lot_id,
             posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash
        FROM transfers WHERE account_id = $1 AND seq = 1`;
    await expect(books.dataSource.query(copy, [accountId])).rejects.toMatchObject({
      driverError: { constraint: 'transfers_reference_key' },
    });
  });

  it('never runs back in time in its book, however far the clocks of two processes differ', async () => {
    const account = await books.account();
    await books.topUp(account, 1_000_000n);
    books.pass(-5);
    await books.debit(account, 40_000n);
    books.pass(5);
    const { rows } = await books.owner.query<{ ordered: boolean }>(
      `SELECT bool_and(created_at >= before) AS ordered
         FROM (SELECT created_at, lag(created_at, 1, created_at) OVER (ORDER BY seq) AS before
                 FROM transfers WHERE account_id = $1) t`,
      [account],
    );
    expect(rows).toEqual([{ ordered: true }]);
  });
});

describe('the posting rules', () => {
  it('are the same in the code and in the database: every kind, every pair, every book', async () => {
    const constraint = await books.owner.query<{ rule: string }>(
      `SELECT pg_get_expr(conbin, conrelid) AS rule FROM pg_constraint WHERE conname = 'transfers_posting_rule'`,
    );
    const kinds = [...Object.keys(POSTING_RULES), 'gift'];
    const names = [...Object.keys(LEDGER_ACCOUNTS), 'petty_cash'];
    const allowed = await books.owner.query<{ rule: string }>(
      `SELECT kind || ' ' || debit_account || ' ' || credit_account || ' ' || account_id AS rule
         FROM unnest($1::text[]) AS kind, unnest($2::text[]) AS debit_account, unnest($2::text[]) AS credit_account,
              unnest(ARRAY['acct_customer', 'acct_platform']) AS account_id
        WHERE ${constraint.rows[0]?.rule}`,
      [kinds, names],
    );
    const inCode = Object.entries(POSTING_RULES).flatMap(([kind, pairs]) =>
      pairs.flatMap(([debit, credit]) =>
        ['acct_customer', 'acct_platform']
          .filter((book) => book === 'acct_platform' || !PLATFORM_KINDS.has(kind as never))
          .map((book) => `${kind} ${debit} ${credit} ${book}`),
      ),
    );
    expect(allowed.rows.map(({ rule }) => rule).sort()).toEqual(inCode.sort());
  });
});

describe('the hash recipe of the README', () => {
  const readme = readFileSync(new URL('../../src/money/ledger/README.md', import.meta.url), 'utf8');
  const example = (/```text\n([^`]*)```/.exec(readme)?.[1] ?? '').trimEnd().split('\n');

  it('gives the hashes of its worked example, character for character', () => {
    let previous = GENESIS_HASH;
    for (let line = 0; line < example.length; line += 2) {
      const values = JSON.parse(example[line] as string) as (string | null)[];
      const row = Object.fromEntries(values.map((value, index) => [EXPORT_COLUMNS[index], value]));
      expect(canonicalRow(row as CanonicalFields)).toBe(example[line]);
      expect(row['id']).toBe(transferId(row['account_id'] as string, Number(row['seq'])));
      previous = chainHash(previous, row as CanonicalFields);
      expect(previous).toBe(example[line + 1]);
    }
    expect(example).toHaveLength(4);
  });

  it('names every hashed column, in order', () => {
    const hashed = EXPORT_COLUMNS.slice(0, 15).map((column) => `\`${column}\``);
    expect(readme.replace(/\s+/g, ' ')).toContain(hashed.join(', '));
  });
});

describe('text that cannot be stored as it was sent', () => {
  it('is refused before it is hashed: half a surrogate pair, and NUL', async () => {
    const app = await startTestApp();
    try {
      const { accountId: account } = await app.createCustomer({ grantMicros: 1_000_000n });
      for (const reason of ['half a \ud83e pair', 'a \u0000 character']) {
        const grant = { amount_micros: '1', reason };
        (await app.operator.post(`/v1/accounts/${account}/grants`, grant)).expect(400);
      }
      (
        await app.operator.post(`/v1/accounts/${account}/grants`, { amount_micros: '1', reason: '🪙' })
      ).expect(201);
      await expectBooksToBalance(app.dataSource);
    } finally {
      await app.close();
    }
  });
});

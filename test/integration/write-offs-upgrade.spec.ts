import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { micros } from '../../src/platform/common/money.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';
import { insertPaidTopUp, insertWithdrawnDispute } from '../support/payments/payment-rows.js';

/** The column of that time, which no release has any more. */
const UNDO = 'ALTER TABLE disputes ADD COLUMN written_off_micros bigint';

describe('a database of the time when a write-off was written down before the ledger had it', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000031-write-offs');
    await test.owner.query(UNDO);
  });
  afterAll(() => test.close());

  /** A customer who owes what a dispute took. */
  async function indebted(): Promise<{ accountId: string; disputeId: string }> {
    const { engine, owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    const topUp = await insertPaidTopUp(owner, engine, accountId);
    await engine.execute({
      type: 'debit',
      accountId,
      actor: 'test',
      keyId: null,
      reference: 'debit:all',
      fingerprint: '',
      memo: null,
      amountMicros: micros(10_000_000n),
    });
    return { accountId, disputeId: await insertWithdrawnDispute(owner, engine, accountId, topUp) };
  }

  const writeOff = ({ accountId, disputeId }: { accountId: string; disputeId: string }) =>
    test.engine.execute({
      type: 'writeOff',
      accountId,
      actor: 'test',
      reference: `dispute:${disputeId}:written_off`,
      memo: null,
    });

  it('is upgraded so that one which the ledger never followed is decided again, and one that it did stays', async () => {
    const { owner, dataSource } = test;
    const followed = await indebted();
    const abandoned = await indebted();
    await writeOff(followed);
    await owner.query('UPDATE disputes SET written_off_micros = 10000000');
    await test.upgrade();

    const rows = await dataSource.query<unknown[]>(
      'SELECT account_id, written_off_micros FROM disputes ORDER BY written_off_micros',
    );
    expect(rows).toEqual([
      { account_id: followed.accountId, written_off_micros: '10000000' },
      { account_id: abandoned.accountId, written_off_micros: null },
    ]);
    await expectBooksToBalance(dataSource);
    expect(await writeOff(abandoned)).toMatchObject({
      replayed: false,
      movement: { amountMicros: 10_000_000n },
    });
    expect(await writeOff(followed)).toMatchObject({
      replayed: true,
      movement: { amountMicros: 10_000_000n },
    });
    await expectBooksToBalance(dataSource);
  });
});

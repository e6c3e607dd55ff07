import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';
import { insertPaidTopUp } from '../support/payments/payment-rows.js';

/** The schema of the version before. */
const UNDO = `
  ALTER TABLE credit_lots DROP COLUMN refundable CASCADE;
  DROP TRIGGER credit_lots_refundable_is_bought ON credit_lots;
  DROP FUNCTION refuse_refundable_gift, refuse_refundable_change`;

/** As the version before makes a lot, which knows nothing of the new column. */
const NEW_LOT = `
  INSERT INTO credit_lots (account_id, id, kind, source, granted_micros, remaining_micros, created_at)
  VALUES ($1, $2, 'paid', $3, 1, 0, now())`;

describe('a database of the time when every paid lot could be refunded', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000033-refundable-lots');
  });
  afterAll(() => test.close());

  it('is upgraded so that bought credit can be refunded, credit that was given cannot, and no one changes that', async () => {
    const { engine, owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    const named = (reference: string) => ({
      accountId,
      actor: 'test',
      reference,
      fingerprint: '',
      memo: null,
    });
    const given = { lotId: newId('creditLot'), amountMicros: micros(1_000_000n) };
    await insertPaidTopUp(owner, engine, accountId);
    await engine.execute({ type: 'adjust', ...named('adjustment:1'), ...given });
    const promotional = { ...given, lotId: newId('creditLot'), priority: 0, expiresAtMs: null };
    await engine.execute({ type: 'grant', ...named('grant:1'), ...promotional });
    await owner.query(UNDO);
    await test.upgrade();

    const lots = () =>
      dataSource.query<unknown[]>(
        'SELECT source, refundable FROM credit_lots WHERE remaining_micros > 0 ORDER BY 1',
      );
    const upgraded = [
      { source: 'adjustment', refundable: false },
      { source: 'grant', refundable: false },
      { source: 'top_up', refundable: true },
    ];
    expect(await lots()).toEqual(upgraded);
    await expectBooksToBalance(dataSource);
    await expect(
      owner.query(`UPDATE credit_lots SET refundable = true WHERE source = 'adjustment'`),
    ).rejects.toMatchObject({ driverError: { constraint: 'credit_lots_refundable_fixed' } });
    await engine.execute({
      type: 'debit',
      ...named('debit:1'),
      keyId: null,
      amountMicros: micros(1_500_000n),
    });
    await expectBooksToBalance(dataSource);
  });

  it('takes the lots that a process of the version before still makes, each as its source says', async () => {
    const { owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    await test.engine.execute({ type: 'expireLots', accountId, actor: 'system' });
    for (const source of ['reinstatement', 'top_up', 'write_off']) {
      await owner.query(NEW_LOT, [accountId, `lot_of_${source}`, source]);
    }
    const lots = 'SELECT source, refundable FROM credit_lots WHERE account_id = $1 ORDER BY source';
    expect(await dataSource.query<unknown[]>(lots, [accountId])).toEqual([
      { source: 'reinstatement', refundable: true },
      { source: 'top_up', refundable: true },
      { source: 'write_off', refundable: false },
    ]);
  });
});

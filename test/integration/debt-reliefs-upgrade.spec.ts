import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros, type MicroUsd } from '../../src/platform/common/money.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { addCredit, createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';

const UNDO = `
  DROP TABLE debt_reliefs, reliefs_carried_over;
  DROP FUNCTION refuse_relief_change();
  CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';`;

const ZERO = micros(0n);
const TEN = micros(10_000_000n);

describe('a database of the time when a debt that was written off, or paid with given credit, was not written down', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open(
      '1795300000058-debt-reliefs',
      '1795300000060-reliefs-carried-over',
      '1795300000062-owed-beside-reliefs',
    );
  });
  afterAll(() => test.close());

  const named = (accountId: string, reference: string) =>
    ({ accountId, actor: 'system', reference, fingerprint: '', memo: null }) as const;

  async function take(accountId: string, dispute: string, amountMicros: MicroUsd): Promise<void> {
    const ids = { id: newId('freeze'), statusChangeId: newId('statusChange'), sourceId: dispute };
    await test.engine.execute({
      type: 'reverseCredit',
      cause: 'dispute',
      ...named(accountId, `dispute:${dispute}:withdrawn`),
      lotId: 'lot_none',
      amountMicros,
      feeMicros: ZERO,
      taxMicros: ZERO,
      excessMicros: ZERO,
      freeze: { ...ids, source: 'dispute', reason: 'disputed' },
    });
  }

  async function writeOff(accountId: string, dispute: string): Promise<void> {
    const reference = `dispute:${dispute}:written_off`;
    await test.engine.execute({
      type: 'writeOff',
      ...named(accountId, reference),
    });
  }

  async function giveBack(accountId: string, dispute: string, amountMicros: MicroUsd): Promise<void> {
    await test.engine.execute({
      type: 'reinstate',
      ...named(accountId, `dispute:${dispute}:reinstated`),
      lotId: newId('creditLot'),
      givenLotId: newId('creditLot'),
      amountMicros,
      feeMicros: ZERO,
      taxMicros: ZERO,
      excessMicros: ZERO,
    });
  }

  async function give(accountId: string, amountMicros: MicroUsd): Promise<void> {
    const lotId = newId('creditLot');
    await test.engine.execute({
      type: 'adjust',
      ...named(accountId, 'adjustment:1'),
      lotId,
      amountMicros,
    });
  }

  const reliefsOf = (accountId: string): Promise<unknown[]> =>
    test.dataSource.query(
      `SELECT kind, amount_micros AS amount, owed_beside_micros AS "stillOwed", undone_micros AS undone
         FROM debt_reliefs WHERE account_id = $1 ORDER BY seq`,
      [accountId],
    );

  it('is upgraded with each of them, so that money which comes back later undoes it', async () => {
    const forgiven = await createAccount(test.dataSource);
    await take(forgiven, 'du_1', TEN);
    await addCredit(test.engine, forgiven, 10_000_000);
    await take(forgiven, 'du_2', TEN);
    await writeOff(forgiven, 'du_2');
    const halfBack = await createAccount(test.dataSource);
    await take(halfBack, 'du_3', TEN);
    await writeOff(halfBack, 'du_3');
    await giveBack(halfBack, 'du_3', micros(4_000_000n));
    const helped = await createAccount(test.dataSource);
    await take(helped, 'du_4', TEN);
    await give(helped, micros(12_000_000n));
    const untouched = await createAccount(test.dataSource);
    await give(untouched, TEN);

    await test.owner.query(UNDO);
    await test.upgrade();

    const whole = { amount: '10000000', stillOwed: '0', undone: '0' };
    expect(await reliefsOf(forgiven)).toEqual([{ kind: 'write_off', ...whole }]);
    expect(await reliefsOf(halfBack)).toEqual([{ kind: 'write_off', ...whole, undone: '4000000' }]);
    expect(await reliefsOf(helped)).toEqual([{ kind: 'given_credit', ...whole }]);
    expect(await reliefsOf(untouched)).toEqual([]);

    await giveBack(forgiven, 'du_1', TEN);
    await giveBack(helped, 'du_4', TEN);
    const left = await test.dataSource.query<unknown[]>(
      `SELECT w.debt_micros AS debt,
              (SELECT coalesce(sum(l.remaining_micros), 0) FROM credit_lots l WHERE l.account_id = w.account_id AND l.refundable)
                AS refundable
         FROM wallets w WHERE w.account_id = ANY($1) ORDER BY w.account_id`,
      [[forgiven, helped]],
    );
    expect(left).toEqual([
      { debt: '0', refundable: '0' },
      { debt: '0', refundable: '0' },
    ]);
    await expectBooksToBalance(test.dataSource);
  });

  it('takes no money for given credit that a customer had back from an earlier release, where nothing was given', async () => {
    const accountId = await createAccount(test.dataSource);
    await addCredit(test.engine, accountId, 10_000_000);
    await take(accountId, 'du_6', TEN);
    await take(accountId, 'du_7', TEN);
    await giveBack(accountId, 'du_7', TEN);
    // That release gave back what had been spent as credit that goes to no card.
    await test.owner.query('ALTER TABLE credit_lots DISABLE TRIGGER USER');
    await test.owner.query(
      `UPDATE credit_lots SET refundable = false WHERE account_id = $1 AND source = 'reinstatement'`,
      [accountId],
    );
    await test.owner.query('ALTER TABLE credit_lots ENABLE TRIGGER USER');
    await test.owner.query(UNDO);
    await test.upgrade();
    expect(await reliefsOf(accountId)).toEqual([]);
    await giveBack(accountId, 'du_6', TEN);
    const [left] = await test.dataSource.query<unknown[]>(
      'SELECT sum(remaining_micros) AS refundable FROM credit_lots WHERE account_id = $1 AND refundable',
      [accountId],
    );
    expect(left).toEqual({ refundable: '10000000' });
    await expectBooksToBalance(test.dataSource);
  });

  it('keeps what is written down as it was posted, and what is undone undone', async () => {
    const accountId = await createAccount(test.dataSource);
    await take(accountId, 'du_5', TEN);
    await writeOff(accountId, 'du_5');
    await giveBack(accountId, 'du_5', micros(1_000_000n));
    for (const change of ['amount_micros = 1', 'undone_micros = 0', 'owed_beside_micros = 1'])
      await expect(
        test.owner.query(`UPDATE debt_reliefs SET ${change} WHERE account_id = $1`, [accountId]),
      ).rejects.toMatchObject({ driverError: { constraint: 'debt_reliefs_fixed' } });
    await expect(
      test.owner.query('UPDATE debt_reliefs SET undone_micros = amount_micros + 1 WHERE account_id = $1', [
        accountId,
      ]),
    ).rejects.toMatchObject({ driverError: { constraint: 'debt_reliefs_amounts' } });
  });
});

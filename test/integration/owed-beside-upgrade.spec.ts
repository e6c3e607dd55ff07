import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { addCredit, createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';

/** That release lowered it whenever money came back, and one before it had written down none. */
const LOWERED = `
  ALTER TABLE debt_reliefs DISABLE TRIGGER USER;
  UPDATE debt_reliefs SET owed_beside_micros = owed_beside_micros / 2;
  ALTER TABLE debt_reliefs ENABLE TRIGGER USER;
  DELETE FROM reliefs_carried_over;
  CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 3';`;

const ZERO = micros(0n);

describe('a database of the time when each return lowered what was still owed after a relief', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000062-owed-beside-reliefs');
  });
  afterAll(() => test.close());

  /** A customer whose debt was paid by goodwill, by us and by themselves, and who also has promotional credit and bought credit. */
  async function relieved(): Promise<string> {
    const accountId = await createAccount(test.dataSource);
    let count = 0;
    const named = (reference: string) =>
      ({ accountId, actor: 'system', reference, fingerprint: '', memo: null }) as const;
    const take = async (dispute: string, amount: bigint): Promise<void> => {
      const ids = { id: newId('freeze'), statusChangeId: newId('statusChange'), sourceId: dispute };
      await test.engine.execute({
        type: 'reverseCredit',
        cause: 'dispute',
        ...named(`dispute:${dispute}:withdrawn`),
        ...{ lotId: 'lot_none', amountMicros: micros(amount) },
        ...{ feeMicros: ZERO, taxMicros: ZERO, excessMicros: ZERO },
        freeze: { ...ids, source: 'dispute', reason: 'disputed' },
      });
    };
    const give = async (amount: bigint): Promise<void> => {
      count += 1;
      const lotId = newId('creditLot');
      const given = { lotId, amountMicros: micros(amount) };
      await test.engine.execute({ type: 'adjust', ...named(`adjustment:${count}`), ...given });
    };
    await addCredit(test.engine, accountId, 3_000_000);
    await take('du_1', 13_000_000n);
    await give(4_000_000n);
    await test.engine.execute({ type: 'writeOff', ...named('dispute:du_1:written_off:1') });
    await take('du_2', 8_000_000n);
    const lotId = newId('creditLot');
    const promised = { lotId, amountMicros: micros(3_000_000n), priority: 0, expiresAtMs: null };
    await test.engine.execute({ type: 'grant', ...named('grant:1'), ...promised });
    await give(5_000_000n);
    await addCredit(test.engine, accountId, 10_000_000);
    await test.engine.execute({ type: 'unfreeze', accountId, actor: 'system', lifts: {}, ...lifted() });
    const spent = { keyId: null, amountMicros: micros(4_000_000n) };
    await test.engine.execute({ type: 'debit', ...named('debit:1'), ...spent });
    await take('du_3', 7_000_000n);
    await give(500_000n);
    return accountId;
  }

  const lifted = () => ({ reason: 'looked at', statusChangeId: newId('statusChange') });

  const reliefsOf = (accountId: string): Promise<unknown[]> =>
    test.dataSource.query(
      `SELECT kind, amount_micros AS amount, owed_beside_micros AS "stillOwed" FROM debt_reliefs WHERE account_id = $1 ORDER BY seq`,
      [accountId],
    );

  it('is upgraded with what was still owed after each relief when it was posted, however much came back since', async () => {
    const accountId = await relieved();
    const before = await reliefsOf(accountId);
    expect(before).toMatchObject([
      { kind: 'given_credit', amount: '4000000', stillOwed: '6000000' },
      { kind: 'write_off', amount: '6000000', stillOwed: '0' },
      { kind: 'given_credit', amount: '5000000', stillOwed: '3000000' },
      { kind: 'given_credit', amount: '500000', stillOwed: '500000' },
    ]);
    await test.owner.query(LOWERED);
    await test.upgrade();
    expect(await reliefsOf(accountId)).toEqual(before);
    await expectBooksToBalance(test.dataSource);
    await expect(
      test.owner.query('UPDATE debt_reliefs SET owed_beside_micros = 0 WHERE account_id = $1', [accountId]),
    ).rejects.toMatchObject({ driverError: { constraint: 'debt_reliefs_fixed' } });
  });
});

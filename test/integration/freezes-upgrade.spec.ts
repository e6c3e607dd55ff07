import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';

/** The schema of the version before. */
const UNDO = `
  DROP TRIGGER wallets_frozen_for_a_reason ON wallets;
  DROP TABLE wallet_freezes;
  DROP FUNCTION refuse_status_without_reason;
  DROP FUNCTION refuse_freeze_change`;

/** What the version before wrote for a freeze. */
const FREEZE = `
  WITH change AS (INSERT INTO wallet_status_changes VALUES ($1, $2, 'frozen', 'stripe', 'dispute du_1', now()))
  UPDATE wallets SET status = 'frozen' WHERE account_id = $1`;

describe('a database of the time before freezes had reasons', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000032-freezes');
  });
  afterAll(() => test.close());

  it('is upgraded so that a frozen wallet stays frozen until a person has looked, whatever is won', async () => {
    const { engine, dataSource, owner } = test;
    const accountId = await createAccount(dataSource);
    await engine.execute({ type: 'expireLots', accountId, actor: 'system' });
    await owner.query(UNDO);
    await owner.query(FREEZE, [accountId, newId('statusChange')]);
    await test.upgrade();
    await expectBooksToBalance(dataSource);

    const unfreeze = { type: 'unfreeze', accountId, actor: 'stripe', reason: 'test' } as const;
    const won = { source: 'dispute', sourceId: 'du_1' } as const;
    expect(
      await engine.execute({ ...unfreeze, statusChangeId: newId('statusChange'), lifts: won }),
    ).toMatchObject({ status: 'frozen', changed: false, freezes: [{ source: 'operator' }] });
    await expect(owner.query(`UPDATE wallets SET status = 'active'`)).rejects.toMatchObject({
      driverError: { constraint: 'wallets_frozen_for_a_reason' },
    });
    expect(
      await engine.execute({ ...unfreeze, statusChangeId: newId('statusChange'), lifts: {} }),
    ).toMatchObject({ status: 'active', changed: true, freezes: [] });
    await expectBooksToBalance(dataSource);
  });
});

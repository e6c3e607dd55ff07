import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { micros } from '../../src/platform/common/money.js';
import { KeyBudgetsService } from '../../src/money/spend-limits/key-budgets.service.js';
import { addCredit, createAccount, createKey } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';

/** The schema of the version before. */
const UNDO = `
  DROP TABLE key_budgets;
  DROP FUNCTION refuse_spending_beyond_limit;
  ALTER TABLE holds DROP COLUMN key_id CASCADE`;

describe('a database of the time before holds named their key', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000018-key-budgets');
  });
  afterAll(() => test.close());

  it('is upgraded so that calls under way count, and give back, to the key that made them', async () => {
    const { engine, dataSource, owner } = test;
    const accountId = await createAccount(dataSource);
    const keyId = await createKey(dataSource, accountId);
    await addCredit(engine, accountId, 1_000_000);
    const hold = (name: string) => ({ accountId, actor: `account_key:${keyId}`, holdId: `hold_${name}` });
    for (const name of ['open', 'captured', 'outside']) {
      await engine.execute({
        ...hold(name),
        type: 'authorize',
        keyId: null,
        reference: `generation:gen_${name}`,
        fingerprint: '',
        memo: null,
        amountMicros: micros(80_000n),
        expiresAtMs: Date.now() + 60_000,
      });
    }
    for (const name of ['open', 'captured']) {
      await owner.query(
        `INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested,
                                  width, height, response_format, output_format, fingerprint, media_key_id, status,
                                  lease_expires_at, hold_id, created_at)
         SELECT $1, 'gen_' || $3::text, $2, 'req', model, id, amount_micros, 2, 64, 64, 'url', 'png', '', 'k', 'running', now(),
                'hold_' || $3::text, now() FROM prices WHERE amount_micros > 0 LIMIT 1`,
        [accountId, keyId, name],
      );
    }
    await engine.execute({ ...hold('captured'), type: 'capture', amountMicros: micros(40_000n), memo: null });

    await owner.query(UNDO);
    await test.upgrade();
    const budgets = new KeyBudgetsService(dataSource, engine, { nowMs: () => Date.now() });
    const used = async (): Promise<bigint | undefined> =>
      (await budgets.find(accountId, [keyId])).get(keyId)?.used.total;
    await budgets.set(accountId, keyId, { total: micros(500_000n) }, 'test');
    expect(await used()).toBe(120_000n);
    await engine.execute({ ...hold('open'), type: 'capture', amountMicros: micros(40_000n), memo: null });
    expect(await used()).toBe(80_000n);
    const keys = await dataSource.query('SELECT id, key_id FROM holds ORDER BY id');
    expect(keys).toEqual([
      { id: 'hold_captured', key_id: null },
      { id: 'hold_open', key_id: keyId },
      { id: 'hold_outside', key_id: null },
    ]);
  });
});

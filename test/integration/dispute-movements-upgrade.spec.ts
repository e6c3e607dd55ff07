import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';
import { insertPaidTopUp, insertWithdrawnDispute } from '../support/payments/payment-rows.js';

/** The schema of the version before. */
const UNDO = `
  ALTER TABLE disputes ADD COLUMN written_off_micros bigint;
  DROP FUNCTION follow_dispute_row() CASCADE;
  DROP FUNCTION refuse_movement_beyond_payment() CASCADE;
  DROP TABLE dispute_movements;
  DROP FUNCTION refuse_dispute_movement_change();
  CREATE TRIGGER disputes_within_payment BEFORE UPDATE ON disputes
    FOR EACH ROW WHEN (OLD.credit_micros IS NULL AND NEW.credit_micros IS NOT NULL)
    EXECUTE FUNCTION refuse_refund_beyond_payment('disputes_within_payment')`;

describe('a database of the time when a dispute was taken once and given back once', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000054-dispute-movements');
  });
  afterAll(() => test.close());

  async function disputed(): Promise<{ accountId: string; id: string }> {
    const { engine, owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    const topUp = await insertPaidTopUp(owner, engine, accountId);
    return { accountId, id: await insertWithdrawnDispute(owner, engine, accountId, topUp) };
  }

  const insertBalanceTransaction = (name: string, id: string, cents: number, at: string) =>
    test.owner.query(
      `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents,
                                                net_cents, source_id, created_at, stored_at)
       VALUES ($1, false, 'adjustment', 'dispute', 'usd', $2, 0, $2, $3, $4, $4)`,
      [name, cents, id, at],
    );

  async function giveBack({ accountId, id }: { accountId: string; id: string }): Promise<void> {
    await test.engine.execute({
      type: 'reinstate',
      accountId,
      actor: 'stripe',
      reference: `dispute:${id}:reinstated`,
      fingerprint: '',
      memo: null,
      lotId: newId('creditLot'),
      givenLotId: newId('creditLot'),
      amountMicros: micros(10_000_000n),
      feeMicros: micros(500_000n),
      taxMicros: micros(0n),
      excessMicros: micros(0n),
    });
    await test.owner.query('UPDATE disputes SET reinstated_at = now() WHERE id = $1', [id]);
  }

  const movementsOf = (id: string): Promise<unknown[]> =>
    test.dataSource.query<unknown[]>(
      `SELECT number, balance_transaction_id AS transaction, amount_cents AS cents, credit_micros AS credit, booked_at IS NOT NULL AS booked
         FROM dispute_movements WHERE dispute_id = $1 ORDER BY number`,
      [id],
    );

  it('is upgraded with each way that money went as a movement, and what it was at Stripe where that is known', async () => {
    const { owner, dataSource } = test;
    const lost = await disputed();
    const won = await disputed();
    await owner.query(UNDO);
    await giveBack(won);
    await insertBalanceTransaction('txn_won_again', won.id, -1_050, '2026-01-03T00:00:00Z');
    await insertBalanceTransaction('txn_won_back', won.id, 1_050, '2026-01-02T00:00:00Z');
    await insertBalanceTransaction('txn_won', won.id, -1_050, '2026-01-01T00:00:00Z');
    await test.upgrade();
    expect(await movementsOf(lost.id)).toEqual([
      { number: 1, transaction: null, cents: '-1050', credit: '-10000000', booked: true },
    ]);
    expect(await movementsOf(won.id)).toEqual([
      { number: 1, transaction: 'txn_won', cents: '-1050', credit: '-10000000', booked: true },
      { number: 2, transaction: 'txn_won_back', cents: '1050', credit: '10000000', booked: true },
    ]);
    // Nothing but what Stripe took a third time, which no release had booked.
    const named = await findDiscrepancies(dataSource, ['unasked credits']);
    expect(named.map(({ key }) => key)).toEqual([
      `account_id=${won.accountId} reference=dispute:${won.id}:withdrawn:txn_won_again`,
    ]);
    await owner.query('DELETE FROM stripe_balance_transactions');
  });

  it('takes what a process of the release before writes in the meantime, and refuses what no process may write', async () => {
    const { owner, dataSource } = test;
    const late = await disputed();
    await giveBack(late);
    expect(await movementsOf(late.id)).toMatchObject([
      { number: 1, cents: '-1050', booked: true },
      { number: 2, cents: '1050', booked: true },
    ]);
    await expectBooksToBalance(dataSource);
    const refused = (sql: string) => expect(owner.query(sql, [late.id])).rejects;
    await refused('UPDATE dispute_movements SET amount_cents = 0 WHERE dispute_id = $1').toMatchObject({
      driverError: { constraint: 'dispute_movements_fixed' },
    });
    const again = (credit: number, lot: string | null) =>
      refused(
        `INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                                        excess_micros, reference, lot_id, created_at)
         SELECT account_id, id, 3, ${credit / 10_000}, ${credit}, 0, 0, 0, 'dispute:' || id || ':more',
                ${lot === null ? 'NULL' : `'${lot}'`}, now() FROM disputes WHERE id = $1`,
      );
    const beyond = { driverError: { constraint: 'disputes_within_payment' } };
    await again(-10_010_000, null).toMatchObject(beyond);
    await again(10_000, 'lot_1').toMatchObject(beyond);
  });
});

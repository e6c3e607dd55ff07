import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import type { ReverseCreditCommand } from '../../src/money/wallets/rules/command.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createAccount } from '../support/database/engine.js';
import { UpgradeTest } from '../support/database/upgrade.js';
import { insertPaidTopUp, insertWithdrawnDispute } from '../support/payments/payment-rows.js';

/** Of the migration that wrote the rule of postings before this one. */
const POSTING_RULE_BEFORE =
  /ALTER TABLE transfers DROP CONSTRAINT transfers_posting_rule;[^]*?NOT VALID;/.exec(
    readFileSync(new URL('../../migrations/1795300000013-platform-book.sql', import.meta.url), 'utf8'),
  )?.[0];

/** The schema of the version before. */
const UNDO = `
  ${POSTING_RULE_BEFORE}
  ALTER TABLE disputes DROP COLUMN excess_micros CASCADE, ADD CONSTRAINT disputes_amounts CHECK (
    amount_cents > 0 AND credit_micros > 0 AND fee_micros >= 0 AND tax_micros >= 0
    AND credit_micros + fee_micros + coalesce(tax_micros, 0) = amount_cents * 10000);
  ALTER TABLE refunds DROP COLUMN excess_micros CASCADE, ADD CONSTRAINT refunds_amounts CHECK (
    credit_micros > 0 AND fee_micros >= 0 AND tax_micros >= 0
    AND credit_micros + fee_micros + tax_micros = amount_cents * 10000);
  DROP TRIGGER refunds_fixed ON refunds;
  CREATE TRIGGER refunds_fixed BEFORE UPDATE ON refunds
    FOR EACH ROW WHEN (OLD.status IN ('failed', 'refused', 'needs_review') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_refund_change()`;

/** A refund that its bank sent out and that the wallet could not follow: it waited for a person. */
const WAITING = `
  INSERT INTO refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, amount_cents, payment_intent_id, lot_id,
                       return_lot_id, stripe_refund_id, fingerprint, created_by, created_at, checked_at)
  SELECT account_id, $2::text, id, 'needs_review', 5000000, 250000, 525, payment_intent_id, lot_id, 'lot_' || $2::text,
         'at_stripe_' || $2::text, '', 'stripe', now(), now() FROM top_ups WHERE id = $1`;

describe('a database of the time when money beyond a payment was not booked', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000035-money-beyond-payments');
  });
  afterAll(() => test.close());

  it('is upgraded so that what Stripe takes beyond a payment can be booked, and what is there stays as it is', async () => {
    const { engine, owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    const topUp = await insertPaidTopUp(owner, engine, accountId);
    const disputeId = await insertWithdrawnDispute(owner, engine, accountId, topUp);
    const beyond: ReverseCreditCommand = {
      type: 'reverseCredit',
      cause: 'dispute',
      accountId,
      actor: 'stripe',
      reference: 'dispute:du_second:withdrawn',
      fingerprint: '',
      memo: null,
      lotId: topUp.lotId,
      amountMicros: micros(0n),
      feeMicros: micros(0n),
      taxMicros: micros(0n),
      excessMicros: micros(10_500_000n),
      freeze: null,
    };
    await owner.query(UNDO);
    await expect(engine.execute(beyond)).rejects.toThrow();
    await test.upgrade();

    const disputes = await dataSource.query<unknown[]>(
      'SELECT id, credit_micros, excess_micros FROM disputes',
    );
    expect(disputes).toEqual([{ id: disputeId, credit_micros: '10000000', excess_micros: '0' }]);
    await expectBooksToBalance(dataSource);
    await expect(owner.query('UPDATE disputes SET excess_micros = 1')).rejects.toMatchObject({
      driverError: { constraint: 'disputes_fixed' },
    });
    expect(await engine.execute(beyond)).toMatchObject({ type: 'posted', replayed: false });
    const kinds = await dataSource.query<unknown[]>(
      `SELECT kind, amount_micros FROM transfers WHERE reference = $1`,
      [beyond.reference],
    );
    expect(kinds).toEqual([{ kind: 'dispute_excess', amount_micros: '10500000' }]);
    await expectBooksToBalance(dataSource);
  });

  it('lets the job go on with refunds that waited for a person who could do nothing, and with no failed one', async () => {
    const { engine, owner, dataSource } = test;
    const accountId = await createAccount(dataSource);
    const topUp = await insertPaidTopUp(owner, engine, accountId);
    const id = newId('refund');
    await owner.query(UNDO);
    await owner.query(WAITING, [topUp.id, id]);
    const move = (status: string) =>
      owner.query('UPDATE refunds SET status = $2 WHERE id = $1', [id, status]);
    await expect(move('succeeded')).rejects.toMatchObject({ driverError: { constraint: 'refunds_fixed' } });
    await test.upgrade();
    await move('failed');
    await expect(move('succeeded')).rejects.toMatchObject({ driverError: { constraint: 'refunds_fixed' } });
    const rows = await dataSource.query<unknown[]>(
      'SELECT status, excess_micros FROM refunds WHERE id = $1',
      [id],
    );
    expect(rows).toEqual([{ status: 'failed', excess_micros: '0' }]);
  });
});

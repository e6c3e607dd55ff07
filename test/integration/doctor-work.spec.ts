import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { DOCTOR_SNAPSHOT, examineBooks } from '../../src/finance/audit/examine-books.js';
import { Snapshot } from '../../src/platform/database/snapshot.js';
import { createAccount } from '../support/database/engine.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const ROWS = 3_000;
/** How often the doctor may read a row: each of its questions once or twice, so rows of the ledger most often. */
const READS_OF_A_ROW_MAX = 40;
const TABLES = [
  'credit_lots',
  'dispute_movements',
  'disputes',
  'generation_tasks',
  'generations',
  'holds',
  'payment_reviews',
  'refunds',
  'stripe_balance_transactions',
  'top_ups',
  'transfers',
];

let database: TestDatabase;
let owner: DataSource;
beforeAll(async () => {
  database = await createTestDatabase();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
  // As after a restore: nothing has counted the rows yet.
  for (const table of TABLES) await owner.query(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`);
  await fill();
  // The plans of the session that filled the tables were made while they were empty.
  await owner.destroy();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
});
afterAll(async () => {
  await owner.destroy();
  await database.drop();
});

/** Calls, payments, refunds, disputes and reviews, all of one account. The ledger has no rows for them, so the doctor has much to report. */
async function fill(): Promise<void> {
  const accountId = await createAccount(owner);
  await owner.query('INSERT INTO wallets (account_id) VALUES ($1)', [accountId]);
  await insert(
    'holds (account_id, id, reference, fingerprint, amount_micros, captured_micros, status, created_at, expires_at, resolved_at)',
    `'hold_' || n, 'generation:gen_' || n, '', 40000, 40000, 'captured', now(), now(), now()`,
  );
  await insert(
    `generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested, width, height, response_format,
                  fingerprint, media_key_id, status, lease_expires_at, hold_id, images_delivered, charged_micros, created_at, finished_at)`,
    `'gen_' || n, 'key', 'req', 'm', (SELECT min(id) FROM prices WHERE amount_micros = 40000), 40000, 1, 1024, 1024, 'url', '', 'm',
     'succeeded', now(), 'hold_' || n, 1, 40000, now(), now()`,
  );
  await insert(
    'generation_tasks (account_id, generation_id, position, attempt, provider, status, bytes, created_at, finished_at)',
    `'gen_' || n, 0, 1, 'black-forest-labs', 'delivered', 1, now(), now()`,
  );
  const topUps = `
    top_ups (account_id, id, status, credit_micros, fee_micros, charge_cents, fee_mode, fee_bps, livemode, lot_id, save_card,
             success_url, cancel_url, expires_at, checkout_session_id, payment_intent_id, fingerprint, created_by, created_at,
             checked_at, paid_at)`;
  const topUp = (id: string, status: string, paidAt: string): string =>
    `'tu_${id}' || n, '${status}', 20000, 0, 2, 'on_top', 0, false, 'lot_${id}' || n, false, '', '', now(), 'cs_${id}' || n,
     'pi_${id}' || n, '', '', now(), now(), ${paidAt}`;
  await insert(topUps, topUp('paid_', 'paid', 'now()'));
  await insert(topUps, topUp('wrong_', 'rejected', 'NULL'));
  await insert(
    'payment_reviews (account_id, id, top_up_id, status, payment, payment_intent_id, paid, contradictions, created_at, checked_at)',
    `'rv_' || n, 'tu_wrong_' || n, 'dismissed', 'cs_wrong_' || n, 'pi_wrong_' || n, true, '', now(), now()`,
  );
  await insert(
    `refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, amount_cents, payment_intent_id, lot_id, return_lot_id,
              stripe_refund_id, fingerprint, created_by, created_at, checked_at)`,
    `'re_' || n, 'tu_paid_' || n, 'succeeded', 10000, 0, 1, 'pi_paid_' || n, 'lot_paid_' || n, 'lot_back_' || n, 'sre_' || n, '', '',
     now(), now()`,
  );
  await insert(
    `disputes (account_id, id, top_up_id, status, reason, amount_cents, credit_micros, fee_micros, excess_micros, reinstatement_lot_id,
               withdrawn_at, created_at, checked_at)`,
    `'du_' || n, 'tu_paid_' || n, 'lost', 'general', 1, 10000, 0, 0, 'lot_won_' || n, now(), now(), now()`,
  );
  await insert(
    'credit_lots (account_id, id, kind, source, granted_micros, remaining_micros, created_at)',
    `'lot_paid_' || n, 'paid', 'top_up', 20000, 1, now()`,
  );
  const movements = [
    ['top_up', 'stripe_clearing', 'customer_credit', 'top_up:tu_paid_', ''],
    ['refund', 'customer_credit', 'stripe_clearing', 'refund:re_', ''],
    ['dispute', 'customer_credit', 'stripe_clearing', 'dispute:du_', ':withdrawn'],
    ['capture', 'customer_credit', 'usage_revenue', 'capture:hold_', ''],
  ] as const;
  for (const [place, [kind, debit, credit, before, after]] of movements.entries()) {
    await insert(
      `transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id, posted_after_micros, reference, leg,
                  link_id, actor, created_at, hash)`,
      `${place * ROWS} + n, 'id', '${kind}', '${debit}', '${credit}', 1, 'lot_paid_' || n, 0, '${before}' || n || '${after}', 0, '',
       'stripe', now(), sha256('')`,
    );
  }
  const balances = [
    ['charge', 2, 'ch_paid_', 'paid_'],
    ['charge', 2, 'ch_wrong_', 'wrong_'],
    ['refund', -1, 'sre_', 'paid_'],
    ['adjustment', -1, 'du_', 'paid_'],
  ] as const;
  for (const [type, cents, source, payment] of balances) {
    await owner.query(
      `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents, net_cents,
                                                source_id, payment_intent_id, top_up_id, created_at, stored_at)
       SELECT 'txn_${source}' || n, false, '${type}', '${type}', 'usd', ${cents}, 0, ${cents}, '${source}' || n, 'pi_${payment}' || n,
              ${type === 'charge' ? `'tu_${payment}' || n` : 'NULL'}, now(), now()
         FROM generate_series(1, ${ROWS}) n`,
    );
  }

  function insert(into: string, values: string): Promise<unknown> {
    return owner.query(`INSERT INTO ${into} SELECT $1, ${values} FROM generate_series(1, ${ROWS}) n`, [
      accountId,
    ]);
  }
}

describe('the doctor, where all rows are of one account and nothing has counted them yet', () => {
  it('reads each row a few times, and not once for each other row', async () => {
    const snapshot = await Snapshot.ofPool(owner, DOCTOR_SNAPSHOT);
    try {
      await examineBooks(snapshot, () => undefined);
      const reads = await snapshot.rows(
        `SELECT relname, (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::text
           FROM pg_stat_xact_user_tables WHERE relname = ANY($1) ORDER BY relname`,
        [`{${TABLES.join(',')}}`],
      );
      const sizes = await snapshot.rows(
        TABLES.map((table) => `SELECT count(*) FROM ${table}`).join(' UNION ALL '),
      );
      expect(reads.map(([table]) => table)).toEqual(TABLES);
      const readsOfARow = reads.map(([, all], index) => Number(all) / Number(sizes[index]?.[0]));
      expect(Math.min(...readsOfARow)).toBeGreaterThanOrEqual(1);
      expect(TABLES.filter((_, index) => (readsOfARow[index] ?? 0) > READS_OF_A_ROW_MAX)).toEqual([]);
    } finally {
      await snapshot.close();
    }
  });
});

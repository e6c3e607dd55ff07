import type { DataSource } from 'typeorm';
import { newId } from '../../../src/platform/common/ids.js';
import { micros } from '../../../src/platform/common/money.js';
import type { WalletEngine } from '../../../src/money/wallets/wallet-engine.js';

export type PaidTopUp = { readonly id: string; readonly lotId: string };

/** A top-up of $10.00 with its fee of $0.50, paid and credited, in the tables' own words: no Stripe is asked. */
export async function insertPaidTopUp(
  owner: DataSource,
  engine: WalletEngine,
  accountId: string,
): Promise<PaidTopUp> {
  const id = newId('topUp');
  const lotId = newId('creditLot');
  await owner.query(
    `INSERT INTO top_ups (account_id, id, status, credit_micros, fee_micros, charge_cents, fee_mode, fee_bps, livemode, lot_id,
                          save_card, success_url, cancel_url, expires_at, checkout_session_id, payment_intent_id, fingerprint,
                          created_by, created_at, checked_at, paid_at, automatic_tax, tax_micros)
     VALUES ($1, $2::text, 'paid', 10000000, 500000, 1050, 'on_top', 500, false, $3, false, '', '', now(), 'cs_' || $2::text,
             'pi_' || $2::text, '', 'test', now(), now(), now(), false, 0)`,
    [accountId, id, lotId],
  );
  await engine.execute({
    type: 'credit',
    cause: 'top_up',
    accountId,
    actor: 'test',
    reference: `top_up:${id}`,
    fingerprint: '',
    memo: null,
    lotId,
    amountMicros: micros(10_000_000n),
    feeMicros: micros(500_000n),
    taxMicros: micros(0n),
    expiresAtMs: null,
  });
  return { id, lotId };
}

/** A dispute of all of it, of which the ledger took its credit; Stripe's row, as Stripe reported it. Answers its id. */
export async function insertWithdrawnDispute(
  owner: DataSource,
  engine: WalletEngine,
  accountId: string,
  { id: topUpId, lotId }: PaidTopUp,
): Promise<string> {
  const id = `du_${newId('request')}`;
  await owner.query(
    `INSERT INTO disputes (account_id, id, top_up_id, status, reason, amount_cents, credit_micros, fee_micros, tax_micros,
                           reinstatement_lot_id, frozen_at, withdrawn_at, created_at, checked_at)
     VALUES ($1, $2, $3, 'lost', 'fraudulent', 1050, 10000000, 500000, 0, $4, now(), now(), now(), now())`,
    [accountId, id, topUpId, newId('creditLot')],
  );
  await engine.execute({
    type: 'reverseCredit',
    cause: 'dispute',
    accountId,
    actor: 'stripe',
    reference: `dispute:${id}:withdrawn`,
    fingerprint: '',
    memo: null,
    lotId,
    amountMicros: micros(10_000_000n),
    feeMicros: micros(500_000n),
    taxMicros: micros(0n),
    excessMicros: micros(0n),
    freeze: {
      source: 'dispute',
      sourceId: id,
      id: newId('freeze'),
      statusChangeId: newId('statusChange'),
      reason: `dispute ${id}`,
    },
  });
  return id;
}

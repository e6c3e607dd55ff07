import pg from 'pg';
import { DataSource } from 'typeorm';
import { newId } from '../../../src/platform/common/ids.js';
import { divExact, micros, MICROS_PER_CENT } from '../../../src/platform/common/money.js';
import { applicationDataSourceOptions } from '../../../src/platform/database/data-source.js';
import { silentObserver, WalletEngine } from '../../../src/money/wallets/wallet-engine.js';
import type { WalletCommand, Outcome } from '../../../src/money/wallets/rules/command.js';
import { WalletStore } from '../../../src/money/wallets/store/wallet-store.js';
import { databaseClock, OVERLAPPING } from './engine.js';
import { createTestDatabase, type TestDatabase } from './test-database.js';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 10, 1, 9, 30, 0, 123);

/** Memos that break careless files: separators, quotes, line ends, other planes of Unicode, formulas. */
export const AWKWARD_MEMOS = [
  'plain',
  '',
  'a, "quoted" memo; with\ttabs',
  'two\nlines\r\nand a third',
  '🪙 emoji, 漢字, ñ and a lone backslash \\',
  '=HYPERLINK("http://127.0.0.1/","click")',
  '+1+1',
  '-2+3',
  '@SUM(A1:A9)',
  "'quoted for a spreadsheet already",
  "'=1+1",
  'harmless;=1+1;"=1+1"\n=1+1\t@x',
  ' = leading space',
  '＝１＋１',
  'null',
  'end_of_export',
] as const;

/** A database of its own with the real engine on it, and a clock that the test moves. */
export class TestBooks {
  nowMs = START_MS;
  readonly engine: WalletEngine;

  private constructor(
    readonly database: TestDatabase,
    /** As the application role, like the service. */
    readonly dataSource: DataSource,
    /** As the role that owns the tables: what an administrator with a bad day could do. */
    readonly owner: pg.Client,
  ) {
    const clock = { nowMs: () => this.nowMs };
    this.engine = new WalletEngine(
      new WalletStore(dataSource, databaseClock(dataSource, clock)),
      silentObserver,
      OVERLAPPING,
    );
  }

  static async open(): Promise<TestBooks> {
    const database = await createTestDatabase();
    const dataSource = await new DataSource(
      applicationDataSourceOptions(database.serviceUrl, 4),
    ).initialize();
    const owner = new pg.Client({ connectionString: database.url });
    await owner.connect();
    return new TestBooks(database, dataSource, owner);
  }

  async close(): Promise<void> {
    await this.dataSource.destroy();
    await this.owner.end();
    await this.database.drop();
  }

  pass(hours: number): void {
    this.nowMs += hours * HOUR_MS;
  }

  async account(name = 'Test'): Promise<string> {
    const id = newId('account');
    const sql = 'INSERT INTO accounts (id, name, created_at) VALUES ($1, $2, $3)';
    await this.owner.query(sql, [id, name, new Date(this.nowMs)]);
    return id;
  }

  execute(command: WalletCommand): Promise<Outcome> {
    return this.engine.execute(command);
  }

  /** Credit with a fee of 5% next to it; for a real top-up, also the paid top-up that it comes from. */
  async topUp(
    accountId: string,
    amountMicros: bigint,
    more: Partial<Command<'credit'>> = {},
  ): Promise<Outcome> {
    const topUpId = newId('topUp');
    const command: Command<'credit'> = {
      type: 'credit',
      cause: 'top_up',
      ...this.referenced(accountId, `top_up:${topUpId}`),
      lotId: newId('creditLot'),
      amountMicros: micros(amountMicros),
      feeMicros: micros(divExact(amountMicros, 20n)),
      taxMicros: micros(0n),
      expiresAtMs: null,
      ...more,
    };
    if (command.cause === 'top_up') await this.insertPaidTopUp(topUpId, command);
    return this.execute(command);
  }

  private async insertPaidTopUp(id: string, credit: Command<'credit'>): Promise<void> {
    const { accountId, amountMicros, feeMicros, taxMicros, lotId } = credit;
    await this.owner.query(
      `INSERT INTO top_ups (account_id, id, status, credit_micros, fee_micros, charge_cents, fee_mode, fee_bps, livemode,
                            lot_id, save_card, success_url, cancel_url, expires_at, checkout_session_id, fingerprint,
                            created_by, created_at, checked_at, paid_at, automatic_tax, tax_micros)
       VALUES ($1, $2, 'paid', $3, $4, $5, 'on_top', 500, false, $6, false, '', '', $7, 'cs_' || $2, '', 'test', $7, $7, $7, $8 > 0, $8)`,
      [
        accountId,
        id,
        amountMicros.toString(),
        feeMicros.toString(),
        divExact(amountMicros + feeMicros, MICROS_PER_CENT).toString(),
        lotId,
        new Date(this.nowMs),
        taxMicros.toString(),
      ],
    );
  }

  grant(accountId: string, amountMicros: bigint, more: Partial<Command<'grant'>> = {}): Promise<Outcome> {
    const lotId = newId('creditLot');
    const amount = { lotId, amountMicros: micros(amountMicros), priority: 0, expiresAtMs: null };
    return this.execute({
      type: 'grant',
      ...this.referenced(accountId, `grant:${lotId}`),
      ...amount,
      ...more,
    });
  }

  debit(accountId: string, amountMicros: bigint, more: Partial<Command<'debit'>> = {}): Promise<Outcome> {
    const referenced = this.referenced(accountId, `debit:${newId('request')}`);
    return this.execute({
      type: 'debit',
      keyId: null,
      ...referenced,
      amountMicros: micros(amountMicros),
      ...more,
    });
  }

  /** Answers the hold's id. */
  async authorize(accountId: string, amountMicros: bigint, hours = 1): Promise<string> {
    const holdId = newId('hold');
    const expiresAtMs = this.nowMs + hours * HOUR_MS;
    const amount = { keyId: null, holdId, amountMicros: micros(amountMicros), expiresAtMs };
    await this.execute({ type: 'authorize', ...this.referenced(accountId, `hold:${holdId}`), ...amount });
    return holdId;
  }

  capture(accountId: string, holdId: string, amountMicros: bigint): Promise<Outcome> {
    const amount = micros(amountMicros);
    return this.execute({
      type: 'capture',
      accountId,
      actor: 'system',
      holdId,
      amountMicros: amount,
      memo: null,
    });
  }

  /** Paid, promotional, held, expired, refunded, disputed, owed and repaid: one account that saw everything. */
  async playEverything(): Promise<string> {
    const accountId = await this.account('Saw everything');
    const addressed = { accountId, actor: 'system' } as const;
    const lotId = newId('creditLot');
    await this.topUp(accountId, 10_000_000n, { lotId, taxMicros: micros(800_000n), memo: 'First top-up' });
    await this.grant(accountId, 2_000_000n, { memo: 'Welcome', expiresAtMs: this.nowMs + 5 * HOUR_MS });
    for (const memo of AWKWARD_MEMOS) await this.debit(accountId, 40_000n, { memo });
    await this.capture(accountId, await this.authorize(accountId, 160_000n), 120_000n);
    const voided = await this.authorize(accountId, 80_000n);
    await this.execute({ type: 'void', ...addressed, holdId: voided });
    const expired = await this.authorize(accountId, 40_000n);
    this.pass(2);
    await this.execute({ type: 'expireHold', ...addressed, holdId: expired });
    this.pass(4);
    await this.execute({ type: 'expireLots', ...addressed });
    await this.execute(await this.refund(accountId, lotId, 1_000_000n));
    await this.execute(this.adjustment(accountId, 250_000n));
    await this.execute(this.adjustment(accountId, -50_000n));
    this.pass(1);
    const disputeId = newId('request');
    const reference = `dispute:${disputeId}`;
    await this.execute(await this.dispute(accountId, disputeId, lotId, 9_400_000n));
    const back = newId('creditLot');
    await this.owner.query(
      `INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                                      excess_micros, reference, lot_id, created_at, booked_at)
       VALUES ($1, $2, 2, 21, 200000, 10000, 0, 0, $3, $4, $5, $5)`,
      [accountId, disputeId, `${reference}:reinstated`, back, new Date(this.nowMs)],
    );
    await this.execute({
      type: 'reinstate',
      ...this.referenced(accountId, `${reference}:reinstated`),
      lotId: back,
      givenLotId: newId('creditLot'),
      amountMicros: micros(200_000n),
      feeMicros: micros(10_000n),
      taxMicros: micros(0n),
      excessMicros: micros(0n),
    });
    const writtenOff = await this.execute({
      type: 'writeOff',
      ...addressed,
      reference: `${reference}:written_off`,
      memo: null,
    });
    if (writtenOff.type !== 'posted') throw new Error('nothing was owed');
    await this.execute(this.adjustment(accountId, 3_000_000n));
    this.pass(1);
    const statusChangeId = newId('statusChange');
    const unfreeze = { type: 'unfreeze', lifts: {}, statusChangeId, reason: 'dispute closed' } as const;
    await this.execute({ ...unfreeze, ...addressed });
    await this.authorize(accountId, 120_000n, 48);
    await this.debit(accountId, 40_000n);
    return accountId;
  }

  /** With the row that says who asked for it. */
  private async refund(accountId: string, lotId: string, amount: bigint): Promise<WalletCommand> {
    const id = newId('refund');
    const fee = amount / 20n;
    await this.owner.query(
      `INSERT INTO refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, amount_cents, payment_intent_id,
                            lot_id, return_lot_id, stripe_refund_id, fingerprint, created_by, created_at, checked_at)
       SELECT $1, $2, id, 'succeeded', $4, $5, $6, 'pi_' || $2, $3, $7, 'at_stripe_' || $2, '', 'test', $8, $8
         FROM top_ups WHERE account_id = $1 AND lot_id = $3`,
      [
        accountId,
        id,
        lotId,
        `${amount}`,
        `${fee}`,
        divExact(amount + fee, MICROS_PER_CENT).toString(),
        newId('creditLot'),
        new Date(this.nowMs),
      ],
    );
    return this.reverseCredit(accountId, 'refund', `refund:${id}`, lotId, amount);
  }

  /** With the row that says what Stripe took. */
  private async dispute(
    accountId: string,
    id: string,
    lotId: string,
    amount: bigint,
  ): Promise<WalletCommand> {
    const fee = amount / 20n;
    await this.owner.query(
      `INSERT INTO disputes (account_id, id, top_up_id, status, reason, amount_cents, credit_micros, fee_micros, tax_micros,
                             reinstatement_lot_id, frozen_at, withdrawn_at, created_at, checked_at)
       SELECT account_id, $2, id, 'lost', 'fraudulent', $4, $5, $6, 0, $7, $8, $8, $8, $8
         FROM top_ups WHERE account_id = $1 AND lot_id = $3`,
      [
        accountId,
        id,
        lotId,
        divExact(amount + fee, MICROS_PER_CENT).toString(),
        `${amount}`,
        `${fee}`,
        newId('creditLot'),
        new Date(this.nowMs),
      ],
    );
    return this.reverseCredit(accountId, 'dispute', `dispute:${id}:withdrawn`, lotId, amount);
  }

  private reverseCredit(
    accountId: string,
    cause: 'refund' | 'dispute',
    reference: string,
    lotId: string,
    amount: bigint,
  ): WalletCommand {
    const returned = { amountMicros: micros(amount), feeMicros: micros(amount / 20n), ...NO_TAX_NOR_EXCESS };
    const change = { id: newId('freeze'), statusChangeId: newId('statusChange'), reason: reference };
    const freeze = { ...change, source: 'dispute', sourceId: reference } as const;
    return {
      type: 'reverseCredit',
      cause,
      freeze: cause === 'dispute' ? freeze : null,
      ...this.referenced(accountId, reference),
      lotId,
      ...returned,
    };
  }

  private adjustment(accountId: string, amount: bigint): WalletCommand {
    const lotId = newId('creditLot');
    const referenced = this.referenced(accountId, `adjustment:${lotId}`);
    return { type: 'adjust', ...referenced, lotId, amountMicros: micros(amount), memo: 'goodwill' };
  }

  private referenced(accountId: string, reference: string) {
    return { accountId, actor: 'system', reference, fingerprint: reference, memo: null } as const;
  }
}

const NO_TAX_NOR_EXCESS = { taxMicros: micros(0n), excessMicros: micros(0n) };

type Command<Type extends WalletCommand['type']> = Extract<WalletCommand, { type: Type }>;

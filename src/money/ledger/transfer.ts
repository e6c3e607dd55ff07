import { hash } from 'node:crypto';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import type { MicroUsd } from '../../platform/common/money.js';
import { formatUtcTime } from '../../platform/common/clock.js';

/** One immutable ledger row: balanced by construction, because one amount leaves one account for another. */
export type Transfer = {
  /** The book that it belongs to: a customer's account, or `acct_platform`. */
  readonly accountId: string;
  /** 1, 2, 3 … without a gap in each account. */
  readonly seq: number;
  readonly id: string;
  readonly kind: TransferKind;
  readonly debitAccount: LedgerAccount;
  readonly creditAccount: LedgerAccount;
  readonly amountMicros: MicroUsd;
  readonly lotId: string | null;
  /** The account's posted balance after this row. */
  readonly postedAfterMicros: MicroUsd;
  /** What happened in the world, permanently unique in the book: `top_up:tu_…`, `capture:hold_…`, `debit:<key>`. */
  readonly reference: string;
  readonly leg: number;
  /** The same for all rows of one business event. */
  readonly linkId: string;
  readonly actor: string;
  readonly memo: string | null;
  readonly createdAtMs: number;
  /** Lower-case hex of SHA-256 over the previous row's hash and this row. */
  readonly hash: string;
};

/** What the first row of a chain follows. */
export const GENESIS_HASH = '0'.repeat(64);

const SEQ_DIGITS = 12;

/**
 * A transfer's id is its place: account and seq. It sorts, needs no index of its own, and a cursor can be
 * read back without a look-up.
 */
export function transferId(accountId: string, seq: number): string {
  return `txn_${accountId.slice('acct_'.length)}_${seq.toString().padStart(SEQ_DIGITS, '0')}`;
}

/** The seq inside `id` when `id` is a transfer of `accountId`, else null. */
export function transferSeq(accountId: string, id: string): number | null {
  const prefix = `txn_${accountId.slice('acct_'.length)}_`;
  const digits = id.slice(prefix.length);
  return id.startsWith(prefix) && /^\d{12}$/.test(digits) ? Number(digits) : null;
}

/**
 * The exact text that is hashed: a JSON array of strings and nulls in column order, without spaces. It uses
 * only values that an export shows, in the export's own spelling, so anybody can recompute it.
 */
export function canonicalRow(row: CanonicalFields): string {
  return JSON.stringify([
    row.account_id,
    row.seq,
    row.id,
    row.kind,
    row.debit_account,
    row.credit_account,
    row.amount_micros,
    row.lot_id,
    row.posted_after_micros,
    row.reference,
    row.leg,
    row.link_id,
    row.actor,
    row.memo,
    row.created_at,
  ]);
}

/** A row in its exported spelling: integers as decimal strings, time as ISO 8601 UTC with milliseconds. */
export type CanonicalFields = {
  readonly account_id: string;
  readonly seq: string;
  readonly id: string;
  readonly kind: string;
  readonly debit_account: string;
  readonly credit_account: string;
  readonly amount_micros: string;
  readonly lot_id: string | null;
  readonly posted_after_micros: string;
  readonly reference: string;
  readonly leg: string;
  readonly link_id: string;
  readonly actor: string;
  readonly memo: string | null;
  readonly created_at: string;
};

export type ExportedTransfer = CanonicalFields & { readonly hash: string };

export function toCanonicalFields(transfer: Omit<Transfer, 'hash'>): CanonicalFields {
  return {
    account_id: transfer.accountId,
    seq: transfer.seq.toString(),
    id: transfer.id,
    kind: transfer.kind,
    debit_account: transfer.debitAccount,
    credit_account: transfer.creditAccount,
    amount_micros: transfer.amountMicros.toString(),
    lot_id: transfer.lotId,
    posted_after_micros: transfer.postedAfterMicros.toString(),
    reference: transfer.reference,
    leg: transfer.leg.toString(),
    link_id: transfer.linkId,
    actor: transfer.actor,
    memo: transfer.memo,
    created_at: formatUtcTime(transfer.createdAtMs),
  };
}

/** `SHA-256(previous hash as hex, "\n", canonical row)`, as lower-case hex. */
export function chainHash(previousHash: string, row: CanonicalFields): string {
  return hash('sha256', `${previousHash}\n${canonicalRow(row)}`, 'hex');
}

export function isPlatformBook(accountId: string): boolean {
  return accountId === PLATFORM_ACCOUNT_ID;
}

/**
 * The chart of accounts. A ledger account's type says on which side its balance normally is: assets and expenses
 * grow by debits, liabilities and income by credits.
 */
export const LEDGER_ACCOUNTS = {
  stripe_clearing: 'asset',
  bank: 'asset',
  customer_credit: 'liability',
  customer_promo: 'liability',
  tax_payable: 'liability',
  upstream_payable: 'liability',
  unapplied_payments: 'liability',
  usage_revenue: 'income',
  platform_fee_revenue: 'income',
  breakage_revenue: 'income',
  processor_fees: 'expense',
  promotional_credit: 'expense',
  dispute_losses: 'expense',
  goodwill: 'expense',
  upstream_cost: 'expense',
} as const satisfies Record<string, 'asset' | 'liability' | 'income' | 'expense'>;

export type LedgerAccount = keyof typeof LEDGER_ACCOUNTS;

type Posting = readonly [debit: LedgerAccount, credit: LedgerAccount];

/**
 * Which pair of ledger accounts each kind of transfer may move between. The database holds the same table
 * as the constraint `transfers_posting_rule`, so that a wrong posting is refused even if this code is wrong.
 */
export const POSTING_RULES = {
  capture: [
    ['customer_promo', 'usage_revenue'],
    ['customer_credit', 'usage_revenue'],
  ],
  debit: [
    ['customer_promo', 'usage_revenue'],
    ['customer_credit', 'usage_revenue'],
  ],
  top_up: [['stripe_clearing', 'customer_credit']],
  top_up_fee: [['stripe_clearing', 'platform_fee_revenue']],
  top_up_tax: [['stripe_clearing', 'tax_payable']],
  grant: [['promotional_credit', 'customer_promo']],
  expiry: [
    ['customer_promo', 'promotional_credit'],
    ['customer_credit', 'breakage_revenue'],
  ],
  refund: [['customer_credit', 'stripe_clearing']],
  refund_fee: [['platform_fee_revenue', 'stripe_clearing']],
  refund_tax: [['tax_payable', 'stripe_clearing']],
  refund_excess: [['dispute_losses', 'stripe_clearing']],
  dispute: [['customer_credit', 'stripe_clearing']],
  dispute_fee: [['platform_fee_revenue', 'stripe_clearing']],
  dispute_tax: [['tax_payable', 'stripe_clearing']],
  dispute_excess: [['dispute_losses', 'stripe_clearing']],
  reinstatement: [['stripe_clearing', 'customer_credit']],
  reinstatement_fee: [['stripe_clearing', 'platform_fee_revenue']],
  reinstatement_tax: [['stripe_clearing', 'tax_payable']],
  reinstatement_excess: [['stripe_clearing', 'dispute_losses']],
  write_off: [['dispute_losses', 'customer_credit']],
  write_off_reversal: [['customer_credit', 'dispute_losses']],
  adjustment: [
    ['goodwill', 'customer_credit'],
    ['customer_credit', 'goodwill'],
  ],
  processor_fee: [['processor_fees', 'stripe_clearing']],
  processor_fee_return: [['stripe_clearing', 'processor_fees']],
  payout: [['bank', 'stripe_clearing']],
  payout_return: [['stripe_clearing', 'bank']],
  upstream_cost: [['upstream_cost', 'upstream_payable']],
  unapplied_payment: [['stripe_clearing', 'unapplied_payments']],
  unapplied_payment_release: [['unapplied_payments', 'stripe_clearing']],
} as const satisfies Record<string, readonly Posting[]>;

export type TransferKind = keyof typeof POSTING_RULES;

/** Kinds that only the platform's own book may hold. */
const PLATFORM_ONLY = [
  'processor_fee',
  'processor_fee_return',
  'payout',
  'payout_return',
  'upstream_cost',
  'unapplied_payment',
  'unapplied_payment_release',
] as const satisfies readonly TransferKind[];

export type PlatformKind = (typeof PLATFORM_ONLY)[number];

export const PLATFORM_KINDS: ReadonlySet<TransferKind> = new Set(PLATFORM_ONLY);

/** The two ledger accounts whose sum is a customer's posted balance. */
export type CustomerLedgerAccount = 'customer_credit' | 'customer_promo';

export function isCustomerLedgerAccount(account: string): account is CustomerLedgerAccount {
  return account === 'customer_credit' || account === 'customer_promo';
}

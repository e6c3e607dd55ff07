import { hash } from 'node:crypto';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import type { MicroUsd } from '../../platform/common/money.js';
import { formatUtcTime } from '../../platform/common/clock.js';
import type { LedgerAccount, TransferKind } from './chart-of-accounts.js';

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

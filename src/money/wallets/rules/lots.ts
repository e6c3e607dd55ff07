import { micros, smaller, ZERO, type MicroUsd } from '../../../platform/common/money.js';
import type { CustomerLedgerAccount } from '../../ledger/chart-of-accounts.js';
import type { Lot } from './wallet.js';

export type Portion = { readonly lot: Lot; readonly amountMicros: MicroUsd };
export type Taken = { readonly portions: readonly Portion[]; readonly missingMicros: MicroUsd };

/** Promotional before paid, then lower priority number, then earliest expiry, then oldest. */
export function compareBurnOrder(a: Lot, b: Lot): number {
  if (a.kind !== b.kind) return a.kind === 'promotional' ? -1 : 1;
  if (a.priority !== b.priority) return a.priority - b.priority;
  const expiryA = a.expiresAtMs ?? Number.POSITIVE_INFINITY;
  const expiryB = b.expiresAtMs ?? Number.POSITIVE_INFINITY;
  if (expiryA !== expiryB) return expiryA - expiryB;
  if (a.createdAtMs !== b.createdAtMs) return a.createdAtMs - b.createdAtMs;
  return a.id < b.id ? -1 : 1;
}

export function isDue(lot: Lot, nowMs: number): boolean {
  return lot.expiresAtMs !== null && lot.expiresAtMs <= nowMs;
}

export function ledgerAccountOf(lot: Lot): CustomerLedgerAccount {
  return lot.kind === 'paid' ? 'customer_credit' : 'customer_promo';
}

/** Takes up to `amountMicros` from the lots in the order given. */
export function takeFrom(lots: readonly Lot[], amountMicros: MicroUsd): Taken {
  const portions: Portion[] = [];
  let missing = amountMicros;
  for (const lot of lots) {
    if (missing === 0n) break;
    const part = smaller(lot.remainingMicros, missing);
    if (part === 0n) continue;
    portions.push({ lot, amountMicros: part });
    missing = micros(missing - part);
  }
  return { portions, missingMicros: missing };
}

/**
 * What expires now. Holds reserve lots in burn order, as the calls they stand for would burn them, and a
 * reserved part outlives its lot until the hold is resolved.
 */
export function dueForExpiry(lots: readonly Lot[], heldMicros: MicroUsd, nowMs: number): Portion[] {
  const due: Portion[] = [];
  let unreserved = heldMicros;
  for (const lot of lots) {
    const reserved = smaller(lot.remainingMicros, unreserved);
    unreserved = micros(unreserved - reserved);
    const lapsed = micros(lot.remainingMicros - reserved);
    if (lapsed > 0n && isDue(lot, nowMs)) due.push({ lot, amountMicros: lapsed });
  }
  return due;
}

export function totalRemaining(lots: readonly Lot[]): MicroUsd {
  return lots.reduce((sum, lot) => micros(sum + lot.remainingMicros), ZERO);
}

import { hash } from 'node:crypto';
import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import { micros, ZERO, type MicroUsd, MAX_AMOUNT_MICROS, smaller } from '../../../platform/common/money.js';
import {
  isCustomerLedgerAccount,
  type LedgerAccount,
  type TransferKind,
  chainHash,
  toCanonicalFields,
  transferId,
  type Transfer,
  type CustomerLedgerAccount,
} from '../../ledger/transfer.js';
import {
  type WalletCommand,
  type Applied,
  type Outcome,
  type StatusChange,
  reject,
  type Rejected,
} from './command.js';
import type {
  WalletStatus,
  Lot,
  Hold,
  Freeze,
  Wallet,
  Balances,
  Relief,
  RecordedMovement,
  Aggregate,
} from './wallet.js';

const HALF_CHARACTER = /\p{Surrogate}/u;

const NO_RELIEFS: readonly Relief[] = [];

export type Movement = {
  readonly kind: TransferKind;
  readonly reference: string;
  readonly linkId: string;
  readonly memo: string | null;
};

/**
 * The next state of one wallet while a command is applied. It changes only itself and never the wallet that it started
 * from, so a rejection only has to drop the draft.
 */
export class Draft {
  private posted: MicroUsd;
  private held: MicroUsd;
  private debt: MicroUsd;
  private status: WalletStatus;
  private seq: number;
  private headHash: string;
  private headAtMs: number;
  private currentLots: readonly Lot[];
  private budget: KeyBudget | null = null;
  private freezes: readonly Freeze[] = [];
  private statusChange: StatusChange | null = null;
  private reliefs: readonly Relief[] = NO_RELIEFS;
  private readonly transfers: Transfer[] = [];

  constructor(
    private readonly before: Wallet,
    private readonly command: WalletCommand,
    readonly nowMs: number,
  ) {
    this.posted = before.postedMicros;
    this.held = before.heldMicros;
    this.debt = before.debtMicros;
    this.status = before.status;
    this.seq = before.seq;
    this.headHash = before.headHash;
    // The clocks of several processes differ, and the time of a chain never runs backwards.
    this.headAtMs = Math.max(before.headAtMs, nowMs);
    this.currentLots = before.lots;
  }

  get lots(): readonly Lot[] {
    return this.currentLots;
  }

  get wallet(): Wallet {
    return {
      accountId: this.before.accountId,
      status: this.status,
      postedMicros: this.posted,
      heldMicros: this.held,
      debtMicros: this.debt,
      floorMicros: this.before.floorMicros,
      seq: this.seq,
      headHash: this.headHash,
      headAtMs: this.seq === this.before.seq ? this.before.headAtMs : this.headAtMs,
      lots: this.currentLots,
    };
  }

  /** Posts the expiry of due credit before a command spends, so nothing is ever paid with credit that has lapsed. */
  expireDueLots(): MicroUsd {
    const due = findDueForExpiry(this.currentLots, this.held, this.nowMs);
    let total = ZERO;
    for (const portion of due) {
      // A reserved part may lapse later than the rest of its lot, so the `seq` makes the reference unique.
      const reference = `expiry:${portion.lot.id}:${this.seq + 1}`;
      const income = portion.lot.kind === 'paid' ? 'breakage_revenue' : 'promotional_credit';
      this.burn([portion], income, {
        kind: 'expiry',
        reference,
        linkId: linkIdFor(reference, ''),
        memo: null,
      });
      total = micros(total + portion.amountMicros);
    }
    return total;
  }

  /** Moves each portion out of its lot into `to`. */
  burn(portions: readonly Portion[], to: LedgerAccount, movement: Movement): void {
    for (const { lot, amountMicros } of portions) {
      this.reduceLot(lot.id, amountMicros);
      this.post(movement, getLedgerAccount(lot), to, amountMicros, lot.id);
    }
  }

  /** Takes an amount that no lot can cover, which the customer then owes. */
  owe(amountMicros: MicroUsd, to: LedgerAccount, movement: Movement): void {
    if (amountMicros === 0n) return;
    this.debt = micros(this.debt + amountMicros);
    this.post(movement, 'customer_credit', to, amountMicros, null);
  }

  /** The reverse of `owe`: `from` bears the debt. It opens no lot, so it can never become credit. */
  forgive(amountMicros: MicroUsd, from: LedgerAccount, movement: Movement): void {
    if (amountMicros > this.debt) throw new Error(`${amountMicros} is more than the debt of ${this.debt}`);
    this.debt = micros(this.debt - amountMicros);
    this.post(movement, from, 'customer_credit', amountMicros, null);
    this.relieve('write_off', movement, amountMicros);
  }

  /** Records a relief after `amountMicros` of it were undone. If it was a write-off, that amount is owed again. */
  undoRelief(relief: Relief, amountMicros: MicroUsd, memo: string | null): void {
    this.reliefs = [...this.reliefs, relief];
    if (relief.kind !== 'write_off') return;
    // Other money that comes back may undo another part of it, so the `seq` makes the reference unique.
    const reference = `${relief.reference}:owed_again:${this.seq + 1}`;
    const linkId = linkIdFor(reference, '');
    this.owe(amountMicros, 'dispute_losses', { kind: 'write_off_reversal', reference, linkId, memo });
  }

  /** Adds a lot. Paid credit repays debt first, so the lot may start smaller than what was granted. */
  addLot(lot: Omit<Lot, 'remainingMicros' | 'createdAtMs'>, from: LedgerAccount, movement: Movement): void {
    const repaid =
      lot.kind === 'paid' ? (this.debt < lot.grantedMicros ? this.debt : lot.grantedMicros) : ZERO;
    this.debt = micros(this.debt - repaid);
    const whole: Lot = {
      ...lot,
      remainingMicros: micros(lot.grantedMicros - repaid),
      createdAtMs: this.headAtMs,
    };
    this.currentLots = [...this.currentLots, whole].sort(compareBurnOrder);
    this.post(movement, from, getLedgerAccount(whole), lot.grantedMicros, lot.id);
    if (repaid > 0n && !lot.refundable) this.relieve('given_credit', movement, repaid);
  }

  /** Posts a leg that changes no lot, such as a fee. Nothing is posted for zero. */
  postWith(movement: Movement, debit: LedgerAccount, credit: LedgerAccount, amountMicros: MicroUsd): void {
    if (amountMicros > 0n) this.post(movement, debit, credit, amountMicros, null);
  }

  hold(amountMicros: MicroUsd): void {
    this.held = micros(this.held + amountMicros);
  }

  release(amountMicros: MicroUsd): void {
    this.held = micros(this.held - amountMicros);
  }

  /** `statusChange` is the record of the new status, or null when the status stays the same. */
  changeFreezes(changes: readonly Freeze[], status: WalletStatus, statusChange: StatusChange | null): void {
    this.freezes = changes;
    this.status = status;
    this.statusChange = statusChange;
  }

  setBudget(budget: KeyBudget): void {
    this.budget = budget;
  }

  /** The movement as a repetition of its command will find it in the ledger. */
  recorded(movement: Movement): RecordedMovement {
    const rows = this.transfers.filter((row) => row.reference === movement.reference);
    const first = rows[0];
    if (first === undefined) throw new Error(`nothing was posted under ${movement.reference}`);
    return {
      linkId: movement.linkId,
      transferId: first.id,
      seq: first.seq,
      amountMicros: sumCustomerSide(rows),
      memo: first.memo,
      createdAtMs: first.createdAtMs,
    };
  }

  done(outcome: Outcome, hold: Hold | null = null): Applied {
    const { wallet, transfers, budget, freezes, statusChange, reliefs } = this;
    return { accepted: true, wallet, transfers, hold, budget, freezes, statusChange, reliefs, outcome };
  }

  /** Records that the last posted row paid debt with credit that was not bought. */
  private relieve(kind: Relief['kind'], { reference }: Movement, amountMicros: MicroUsd): void {
    const { seq, debt: stillOwedMicros } = this;
    const relief = { seq, reference, kind, amountMicros, stillOwedMicros, undoneMicros: ZERO };
    this.reliefs = [...this.reliefs, relief];
  }

  private reduceLot(lotId: string, amountMicros: MicroUsd): void {
    this.currentLots = this.currentLots.map((lot) =>
      lot.id === lotId
        ? withMembers(lot, { remainingMicros: micros(lot.remainingMicros - amountMicros) })
        : lot,
    );
  }

  private post(
    movement: Movement,
    debitAccount: LedgerAccount,
    creditAccount: LedgerAccount,
    amountMicros: MicroUsd,
    lotId: string | null,
  ): void {
    // Half a surrogate pair would be hashed as sent and stored as another character, and the chain would never verify again.
    if (HALF_CHARACTER.test(movement.reference) || HALF_CHARACTER.test(movement.memo ?? ''))
      throw new Error('text is not well-formed');
    if (isCustomerLedgerAccount(debitAccount)) this.posted = micros(this.posted - amountMicros);
    if (isCustomerLedgerAccount(creditAccount)) this.posted = micros(this.posted + amountMicros);
    this.seq += 1;
    const leg = this.transfers.filter(({ reference }) => reference === movement.reference).length;
    const row = {
      accountId: this.before.accountId,
      seq: this.seq,
      id: transferId(this.before.accountId, this.seq),
      kind: movement.kind,
      debitAccount,
      creditAccount,
      amountMicros,
      lotId,
      postedAfterMicros: this.posted,
      reference: movement.reference,
      leg,
      linkId: movement.linkId,
      actor: this.command.actor,
      memo: movement.memo,
      createdAtMs: this.headAtMs,
    };
    this.headHash = chainHash(this.headHash, toCanonicalFields(row));
    this.transfers.push(withMembers(row, { hash: this.headHash }));
  }
}

/** The effect of an event on the customer: the sum of its rows on customer ledger accounts. */
function sumCustomerSide(rows: readonly Transfer[]): MicroUsd {
  return rows
    .filter((row) => isCustomerLedgerAccount(row.debitAccount) || isCustomerLedgerAccount(row.creditAccount))
    .reduce((sum, row) => micros(sum + row.amountMicros), ZERO);
}

/** Groups the rows of one event, and distinguishes two requests with the same reference. */
export function linkIdFor(reference: string, fingerprint: string): string {
  return `lnk_${hash('sha256', `${reference}\n${fingerprint}`, 'hex').slice(0, 32)}`;
}

export type Result = Applied | Rejected;

export function isAmount(amountMicros: MicroUsd): boolean {
  return amountMicros > 0n && amountMicros <= MAX_AMOUNT_MICROS;
}

/** The earlier result of a reference that the ledger has, or a conflict; null when the reference is new. */
export function replay(
  aggregate: Aggregate,
  command: { readonly reference: string; readonly fingerprint: string },
  draft: Draft,
): Result | null {
  const recorded = aggregate.recorded.get(command.reference);
  if (recorded === undefined) return null;
  if (recorded.linkId !== linkIdFor(command.reference, command.fingerprint)) {
    return reject({ code: 'reference_conflict' });
  }
  return draft.done(posted(draft, true, recorded));
}

export function toMovement(
  command: { readonly reference: string; readonly fingerprint: string; readonly memo: string | null },
  kind: Movement['kind'],
): Movement {
  const { reference, fingerprint, memo } = command;
  return { kind, reference, linkId: linkIdFor(reference, fingerprint), memo };
}

export function finish(draft: Draft, movement: Movement): Applied {
  return draft.done(posted(draft, false, draft.recorded(movement)));
}

export function posted(draft: Draft, replayed: boolean, movement: RecordedMovement): Outcome {
  return { type: 'posted', replayed, movement, balances: toBalances(draft.wallet) };
}

export function toBalances(wallet: Wallet): Balances {
  return {
    postedMicros: wallet.postedMicros,
    heldMicros: wallet.heldMicros,
    availableMicros: micros(wallet.postedMicros - wallet.heldMicros),
  };
}

/** What a new debit or hold may take: the available credit, down to the floor. */
export function computeSpendable(wallet: Wallet): MicroUsd {
  return micros(wallet.postedMicros - wallet.heldMicros - wallet.floorMicros);
}

type Portion = { readonly lot: Lot; readonly amountMicros: MicroUsd };

type Taken = { readonly portions: readonly Portion[]; readonly missingMicros: MicroUsd };

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

function getLedgerAccount(lot: Lot): CustomerLedgerAccount {
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
 * Finds what expires now. Holds reserve lots in burn order, as their calls would burn them, and a
 * reserved part stays after the expiry of its lot until the hold is resolved.
 */
function findDueForExpiry(lots: readonly Lot[], heldMicros: MicroUsd, nowMs: number): Portion[] {
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

export function sumRemaining(lots: readonly Lot[]): MicroUsd {
  return lots.reduce((sum, lot) => micros(sum + lot.remainingMicros), ZERO);
}

/** The lots that a new debit may burn. Credit that is due but reserved belongs to the holds that reserved it. */
export function findBurnable(draft: Draft): readonly Lot[] {
  return draft.lots.some((lot) => isDue(lot, draft.nowMs))
    ? draft.lots.filter((lot) => !isDue(lot, draft.nowMs))
    : draft.lots;
}

/**
 * Returns a copy with changed or added members, as `{ ...from, ...members }` does. In Node 20's V8, an object literal in which
 * members follow a spread takes a microsecond, ten times as long as this. It is meant for objects that every charge copies.
 */
export function withMembers<From extends object, Members extends object>(
  from: From,
  members: Members,
): From & Members {
  return Object.assign({}, from, members);
}

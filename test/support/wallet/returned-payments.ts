import { cents, centsToMicros, type UsdCents } from '../../../src/platform/common/money.js';
import { partsOfAllCovered, partsOfMoved } from '../../../src/payments/disputes/dispute-movement.rules.js';
import type { WalletCommand } from '../../../src/money/wallets/rules/command.js';
import {
  addParts,
  computeCharge,
  NOTHING,
  partsOfTaken,
  type Parts,
  type PartsAndExcess,
} from '../../../src/money/wallets/rules/payment-parts.js';
import { MemoryStore } from './memory-store.js';

export const ACCOUNT = 'acct_01ARZ3NDEKTSV4RRFFQ69G5FAV';
const NONE: PartsAndExcess = { ...NOTHING, excessCents: cents(0n) };

export type Source = `dispute:${number}` | `refund:${number}`;

/** Amounts are cents; of what Stripe moves, with the fee. */
export type ReturnStep =
  | { readonly kind: 'buy' | 'spend' | 'hold' | 'give'; readonly amount: number }
  /** Of one of the open holds. */
  | { readonly kind: 'capture'; readonly hold: number; readonly amount: number }
  | { readonly kind: 'take' | 'write_off'; readonly source: Source; readonly amount: number }
  /** `coverFirst`: what another dispute takes for it is booked before it. A refund that fails gives back all. */
  | {
      readonly kind: 'give_back';
      readonly source: Source;
      readonly amount: number;
      readonly coverFirst: boolean;
    };

type Held = { readonly payment: number; parts: PartsAndExcess };

/**
 * A wallet with payments of which banks take money and give it back, more than once, several at a time, and beyond what was paid: by the
 * rules that decide of it, and without a database.
 */
export class ReturnedPayments {
  readonly store = new MemoryStore(ACCOUNT);
  private readonly payments: Parts[] = [];
  private readonly held = new Map<Source, Held>();
  private readonly openHolds: { readonly holdId: string; readonly held: number }[] = [];
  /** What each step to write off gave up, and what it left: as much as the dispute or refund had, or as was owed. */
  readonly writtenOff: {
    readonly source: Source;
    readonly done: boolean;
    readonly gaveUp: bigint;
    readonly left: bigint;
  }[] = [];
  /** The steps that were possible. */
  readonly done: ReturnStep[] = [];
  private count = 0;

  /** Of disputes and refunds; what is none of these is of the second payment. */
  constructor(private readonly ofFirstPayment: readonly Source[]) {}

  /** Answers whether it was possible. */
  take(step: ReturnStep): boolean {
    const isDone = this.tryTo(step);
    // Of what a refund or a dispute gives back, what there was of it.
    if (isDone && step.kind !== 'give_back') this.done.push(step);
    return isDone;
  }

  private tryTo(step: ReturnStep): boolean {
    this.count += 1;
    const own = `${step.kind}:${this.count}`;
    const named = { accountId: ACCOUNT, actor: 'system', fingerprint: '', memo: null, reference: own };
    const amountMicros = centsToMicros(cents(BigInt(step.amount)));
    const lotId = `lot_${this.count}`;
    switch (step.kind) {
      case 'buy': {
        const credit = cents((BigInt(step.amount) * 20n) / 21n);
        const paid = { ...NOTHING, creditCents: credit, feeCents: cents(BigInt(step.amount) - credit) };
        this.payments.push(paid);
        const parts = { ...amountsOf({ ...paid, excessCents: cents(0n) }), expiresAtMs: null };
        const bought = `lot_of_${this.payments.length}`;
        return this.run({ type: 'credit', cause: 'top_up', ...named, lotId: bought, ...parts });
      }
      case 'spend':
        return this.run({ type: 'debit', ...named, keyId: null, amountMicros });
      case 'hold': {
        const holdId = `hold_${this.count}`;
        const done = this.run({
          type: 'authorize',
          ...{ ...named, keyId: null, holdId, amountMicros, expiresAtMs: 1 },
        });
        if (done) this.openHolds.push({ holdId, held: step.amount });
        return done;
      }
      case 'capture': {
        const [open] = this.openHolds.splice(step.hold % Math.max(1, this.openHolds.length), 1);
        if (open === undefined) return false;
        const captured = centsToMicros(cents(BigInt(Math.min(open.held, step.amount))));
        return this.run({ type: 'capture', ...named, holdId: open.holdId, amountMicros: captured });
      }
      case 'give':
        return this.run({ type: 'adjust', ...named, lotId, amountMicros });
      case 'take':
        return this.takeFor(step.source, step.amount);
      case 'give_back':
        return this.giveBackFor(step.source, step.amount, step.coverFirst);
      case 'write_off': {
        const owed = this.store.wallet.debtMicros;
        const done = this.run({ type: 'writeOff', ...named, reference: `${step.source}:${own}` });
        const { debtMicros: left } = this.store.wallet;
        this.writtenOff.push({ source: step.source, done, gaveUp: owed - left, left });
        return done;
      }
    }
  }

  giveAllBack(source: Source): void {
    const away = heldCents(this.held.get(source));
    if (away > 0n) this.take({ kind: 'give_back', source, amount: Number(away), coverFirst: false });
  }

  /** Of the lots that may go back to a card. */
  get refundable(): bigint {
    const lots = this.store.wallet.lots.filter((lot) => lot.refundable);
    return lots.reduce((sum, lot) => sum + lot.remainingMicros, 0n);
  }

  /** What was given up and is not owed again. */
  get givenUp(): bigint {
    return this.store.transfers.reduce((sum, { kind, amountMicros }) => {
      if (kind === 'write_off') return sum + amountMicros;
      return kind === 'write_off_reversal' ? sum - amountMicros : sum;
    }, 0n);
  }

  /** What was given up for it and is owed again. */
  owedAgainFor(source: Source): bigint {
    return this.store.transfers
      .filter(({ kind, reference }) => kind === 'write_off_reversal' && reference.startsWith(`${source}:`))
      .reduce((sum, { amountMicros }) => sum + amountMicros, 0n);
  }

  /** What was given up for it and is not owed again. */
  givenUpFor(source: Source): bigint {
    return [...this.store.reliefs.values()]
      .filter(({ kind, reference }) => kind === 'write_off' && reference.startsWith(`${source}:`))
      .reduce((sum, { amountMicros, undoneMicros }) => sum + amountMicros - undoneMicros, 0n);
  }

  private takeFor(source: Source, amount: number): boolean {
    const payment = this.ofFirstPayment.includes(source) ? 0 : 1;
    const paid = this.payments[payment];
    if (paid === undefined) return false;
    const known = this.held.get(source) ?? { payment, parts: NONE };
    const isRefund = source.startsWith('refund:');
    const most = (computeCharge(paid) * 3n) / 2n - heldCents(known);
    const returned = this.returnedOf(payment);
    // A refund is made once, of what is left.
    if (isRefund && this.held.has(source)) return false;
    if (BigInt(amount) > most) return false;
    const amountCents = cents(BigInt(amount));
    const parts = isRefund
      ? negated(partsOfTaken(amountCents, paid, returned))
      : partsOfMoved('taken', amountCents, known.parts, { paid, returned });
    // A refund that goes beyond its payment stays a loss, whatever of the payment comes back later.
    if (isRefund && parts.excessCents !== 0n) return false;
    this.claw(source, payment, parts, known);
    return true;
  }

  private giveBackFor(source: Source, amount: number, coverFirst: boolean): boolean {
    const known = this.held.get(source);
    const away = heldCents(known);
    const isRefund = source.startsWith('refund:');
    if (known === undefined || away <= 0n) return false;
    const part = isRefund || BigInt(amount) > away ? away : BigInt(amount);
    this.done.push({ kind: 'give_back', source, amount: Number(part), coverFirst });
    const { payment } = known;
    const gone = { paid: this.payments[payment] ?? NOTHING, returned: this.returnedOf(payment) };
    const parts = isRefund ? known.parts : partsOfMoved('given_back', cents(part), known.parts, gone);
    known.parts = addedUp(known.parts, negated(parts));
    if (coverFirst) this.cover(payment);
    this.count += 1;
    const reference = `${source}:back:${this.count}`;
    this.run({
      type: 'reinstate',
      ...{ accountId: ACCOUNT, actor: 'system', fingerprint: '', memo: null, reference },
      ...{ lotId: `lot_${this.count}`, givenLotId: `lot_${this.count}_given`, ...amountsOf(parts) },
    });
    this.cover(payment);
    return true;
  }

  /** What disputes took beyond the payment and what is not beyond it any more. */
  private cover(payment: number): void {
    const disputes = [...this.held].filter(
      ([source, held]) => held.payment === payment && source.startsWith('dispute:'),
    );
    const held = disputes.map(([, { parts }]) => parts);
    const covered = partsOfAllCovered(held, this.payments[payment] ?? NOTHING, this.returnedOf(payment));
    disputes.forEach(([source, known], index) => {
      const parts = covered[index];
      if (parts) this.claw(source, payment, parts, known);
    });
  }

  /** `parts`: below zero, as of all that is taken. */
  private claw(source: Source, payment: number, parts: PartsAndExcess, known: Held): void {
    this.count += 1;
    const reference = `${source}:take:${this.count}`;
    const ids = { id: reference, statusChangeId: reference, sourceId: reference };
    const taken = negated(parts);
    this.run({
      type: 'reverseCredit',
      cause: source.startsWith('refund:') ? 'refund' : 'dispute',
      ...{ accountId: ACCOUNT, actor: 'system', fingerprint: '', memo: null, reference },
      ...{ lotId: `lot_of_${payment + 1}`, ...amountsOf(taken) },
      freeze: { ...ids, source: 'dispute', reason: 'dispute' },
    });
    this.held.set(source, { ...known, parts: addedUp(known.parts, taken) });
    this.store.payments.set(source, { id: `${payment}`, paid: this.payments[payment] ?? NOTHING });
  }

  private returnedOf(payment: number): Parts {
    return [...this.held.values()]
      .filter((each) => each.payment === payment)
      .reduce((sum, { parts }) => addParts(sum, parts), NOTHING);
  }

  private run(command: WalletCommand): boolean {
    const [result] = this.store.run([command], 0);
    // A person looks, and lets the customer go on as soon as nothing is owed.
    const lift = { lifts: {}, reason: 'looked at', statusChangeId: `wsc_${this.count}` };
    this.store.run([{ type: 'unfreeze', accountId: ACCOUNT, actor: 'system', ...lift }], 0);
    // A write-off that found nothing to give up is no decision that another history would repeat.
    return result?.accepted === true && result.outcome.type !== 'nothing_owed';
  }
}

function heldCents(held: Held | undefined): bigint {
  return held === undefined ? 0n : computeCharge(held.parts) + held.parts.excessCents;
}

function negated(parts: PartsAndExcess): PartsAndExcess {
  const of = (amount: UsdCents): UsdCents => cents(0n - amount);
  const { creditCents, feeCents, taxCents, excessCents } = parts;
  return {
    ...{ creditCents: of(creditCents), feeCents: of(feeCents) },
    ...{ taxCents: of(taxCents), excessCents: of(excessCents) },
  };
}

function addedUp(a: PartsAndExcess, b: PartsAndExcess): PartsAndExcess {
  return { ...addParts(a, b), excessCents: cents(a.excessCents + b.excessCents) };
}

function amountsOf({ creditCents, feeCents, taxCents, excessCents }: PartsAndExcess) {
  return {
    amountMicros: centsToMicros(creditCents),
    feeMicros: centsToMicros(feeCents),
    taxMicros: centsToMicros(taxCents),
    excessMicros: centsToMicros(excessCents),
  };
}

import { cents, MICROS_PER_CENT } from '../../../platform/common/money.js';
import type { ExportedTransfer } from '../../../money/ledger/transfer.js';
import {
  addParts,
  chargeOf,
  NOTHING,
  partsFor,
  partsOfTaken,
  type Parts,
} from '../../../money/wallets/rules/payment-parts.js';

/** The payment of each `dispute:<id>` and `refund:<id>`. */
export type PaymentLinks = ReadonlyMap<string, { readonly payment: string; readonly paid: Parts }>;

/** Debt that was paid with what no one bought. */
export type ReplayedRelief = {
  readonly seq: number;
  readonly source: string;
  readonly kind: 'write_off' | 'given_credit';
  readonly amount: bigint;
  /** The debt that was owed in addition when it was paid. */
  readonly otherDebt: bigint;
  undone: bigint;
};

/** All rows under one reference: what left Stripe's balance, and what of it was credit. What came back is below zero. */
type Event = { seq: number; reference: string; source: string; moved: bigint; credit: bigint };
/** What of an event is not given back, and the credit that it would have taken. */
type Kept = { readonly event: Event; left: bigint; credit: bigint };
type Undoing = { readonly seq: number; readonly amount: bigint };

/** What refunds and disputes took and gave back, event by event, and what of reliefs would not have been needed without what came back. */
export class ReturnReplay {
  private readonly events: Event[] = [];
  private readonly undoings = { write_off: [] as Undoing[], given_credit: [] as Undoing[] };

  constructor(private readonly links: PaymentLinks) {}

  /** Returns whether the row is of money that comes back. */
  next({ seq, reference, kind, amount_micros }: ExportedTransfer, isGiven: boolean): boolean {
    if (!/^(dispute|refund):/.test(reference) || kind === 'write_off') return false;
    const undoing = { seq: Number(seq), amount: BigInt(amount_micros) };
    if (kind === 'write_off_reversal') this.undoings.write_off.push(undoing);
    if (kind === 'write_off_reversal') return false;
    if (kind === 'reinstatement' && isGiven) this.undoings.given_credit.push(undoing);
    let event = this.events.at(-1);
    if (event?.reference !== reference) {
      event = { seq: Number(seq), reference, source: sourceOf(reference), moved: 0n, credit: 0n };
      this.events.push(event);
    }
    const signed = kind.startsWith('reinstatement') ? -undoing.amount : undoing.amount;
    // What a refund takes beyond its payment stays a loss, whatever of the payment comes back.
    if (!reference.startsWith('refund:') || !kind.endsWith('_excess')) event.moved += signed;
    if (['refund', 'dispute', 'reinstatement'].includes(kind)) event.credit += signed;
    // In addition to the parts of a payment, the same kind says what a dispute had taken beyond it and takes as these parts now.
    return kind.startsWith('reinstatement') && event.credit <= 0n && event.moved < 0n;
  }

  /** What of the credit in the last event came back and had never been taken. */
  get lastNeverTaken(): bigint {
    const last = this.events.at(-1);
    const own = this.events.filter((event) => event.source === last?.source);
    const before = own.slice(0, -1).reduce((sum, { credit }) => sum + credit, 0n);
    return larger(0n, -(last?.credit ?? 0n) - larger(0n, before));
  }

  /** Of each relief, oldest first. */
  unneededOf(reliefs: readonly ReplayedRelief[]): readonly bigint[] {
    const kept = this.kept();
    const needed = new Map<string, bigint>();
    let unneeded = 0n;
    let given = 0n;
    return reliefs.map(({ seq, source, kind, amount, otherDebt }) => {
      const away = sum(this.events.filter((event) => event.seq <= seq).map(({ credit }) => credit));
      const wouldBeAway = sum(kept.filter(({ event }) => event.seq <= seq).map(({ credit }) => credit));
      const undone = (of: readonly Undoing[]) =>
        sum(of.filter((each) => each.seq <= seq).map((each) => each.amount));
      const undoneBefore =
        undone(this.undoings.write_off) + smaller(given, undone(this.undoings.given_credit));
      let need = larger(0n, amount + otherDebt - (away - wouldBeAway) + unneeded - undoneBefore);
      if (kind === 'write_off') {
        const before = needed.get(source) ?? 0n;
        need = smaller(need, larger(0n, this.mostFor(source, seq, kept) - before));
        needed.set(source, before + smaller(need, amount));
      } else given += amount;
      need = smaller(need, amount);
      unneeded += amount - need;
      return amount - need;
    });
  }

  /** What comes back cancels what was taken last for the same; what then is left takes the payment in the order of the chain. */
  private kept(): readonly Kept[] {
    const kept: Kept[] = [];
    const stacks = new Map<string, { open: Kept[]; surplus: bigint }>();
    for (const event of this.events) {
      const stack = stacks.get(event.source) ?? { open: [], surplus: 0n };
      stacks.set(event.source, stack);
      let amount = this.movedBy(event);
      if (amount > 0n) {
        const eaten = smaller(amount, stack.surplus);
        stack.surplus -= eaten;
        const taken = { event, left: amount - eaten, credit: 0n };
        stack.open.push(taken);
        kept.push(taken);
      }
      while (amount < 0n) {
        const last = stack.open.pop();
        if (last === undefined) {
          stack.surplus -= amount;
          break;
        }
        const back = smaller(last.left, -amount);
        last.left -= back;
        amount += back;
        if (last.left > 0n) stack.open.push(last);
      }
    }
    const gone = new Map<string, Parts>();
    for (const each of kept) {
      const paid = this.paidFor(each.event.source);
      if (paid === undefined) each.credit = each.left;
      else {
        const { payment } = this.links.get(each.event.source) ?? { payment: '' };
        const before = gone.get(payment) ?? NOTHING;
        const parts = partsOf(each, paid, before);
        gone.set(payment, addParts(before, parts));
        each.credit = parts.creditCents * MICROS_PER_CENT;
      }
    }
    return kept;
  }

  /** The credit that the dispute or refund has for good, with no other one of its payment. */
  private mostFor(source: string, seq: number, kept: readonly Kept[]): bigint {
    const own = kept.filter(({ event }) => event.source === source && event.seq <= seq);
    if (own.every(({ event, left }) => left === this.movedBy(event)))
      return sum(own.map(({ left }) => left)) + UNBOUNDED;
    const paid = this.paidFor(source);
    if (paid === undefined) return sum(own.map(({ left }) => left));
    return sum(
      own.map(
        ({ left }) =>
          partsOfTaken(cents(left / MICROS_PER_CENT), paid, NOTHING).creditCents * MICROS_PER_CENT,
      ),
    );
  }

  private movedBy({ source, moved, credit }: Event): bigint {
    return this.paidFor(source) === undefined ? credit : moved;
  }

  /** Undefined where nothing is known of the payment, or amounts are not whole cents. */
  private paidFor(source: string): Parts | undefined {
    const link = this.links.get(source);
    if (link === undefined) return undefined;
    const isOfPayment = (event: Event) => this.links.get(event.source)?.payment === link.payment;
    const isWhole = this.events.filter(isOfPayment).every(({ moved }) => moved % MICROS_PER_CENT === 0n);
    return isWhole ? link.paid : undefined;
  }
}

/** More than any write-off. */
const UNBOUNDED = 1n << 62n;

/** A refund that is asked for goes by its credit. */
function partsOf({ event, left }: Kept, paid: Parts, gone: Parts): Parts {
  const amount = cents(left / MICROS_PER_CENT);
  if (event.reference.startsWith('refund:') && event.credit > 0n) {
    const asked = partsFor(cents(event.credit / MICROS_PER_CENT), paid, gone);
    if (asked !== null && chargeOf(asked) === amount) return asked;
  }
  return partsOfTaken(amount, paid, gone);
}

/** The dispute or refund that a movement is of: `dispute:<id>`, `refund:<id>`. */
function sourceOf(reference: string): string {
  return reference.split(':', 2).join(':');
}

const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((total, amount) => total + amount, 0n);
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

import { cents, MICROS_PER_CENT } from '../../../platform/common/money.js';
import type { ExportedTransfer } from '../../../money/ledger/transfer.js';
import { addParts, NOTHING, partsOfTaken, type Parts } from '../../../money/wallets/rules/payment-parts.js';

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

/** All rows under one reference: what left Stripe's balance, and what of it was credit, fee and tax. What came back is below zero. */
type Event = { seq: number; reference: string; source: string; moved: bigint } & Record<Part, bigint>;
type Part = 'credit' | 'fee' | 'tax';
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
      const amounts = { moved: 0n, credit: 0n, fee: 0n, tax: 0n };
      event = { seq: Number(seq), reference, source: toSource(reference), ...amounts };
      this.events.push(event);
    }
    const signed = kind.startsWith('reinstatement') ? -undoing.amount : undoing.amount;
    // What a refund takes beyond its payment stays a loss, whatever of the payment comes back.
    if (!reference.startsWith('refund:') || !kind.endsWith('_excess')) event.moved += signed;
    const [, suffix = 'credit'] = kind.split('_');
    if (suffix === 'credit' || suffix === 'fee' || suffix === 'tax') event[suffix] += signed;
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
  findUnneeded(reliefs: readonly ReplayedRelief[]): readonly bigint[] {
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
    const ofPayments = new Map<string, Kept[]>();
    for (const each of kept) {
      const { source } = each.event;
      if (this.paidFor(source) === undefined) each.credit = each.left;
      else {
        const { payment } = this.links.get(source) ?? { payment: '' };
        ofPayments.set(payment, [...(ofPayments.get(payment) ?? []), each]);
      }
    }
    for (const ofPayment of ofPayments.values()) this.splitKept(ofPayment);
    return kept;
  }

  /** In the order of the chain: what is kept whole as it was booked, all else by its share, and the rest that is rounded off to the last of these. */
  private splitKept(kept: readonly Kept[]): void {
    const [first] = kept;
    const paid = first === undefined ? undefined : this.paidFor(first.event.source);
    if (first === undefined || paid === undefined) return;
    let gone = NOTHING;
    const rounded: Kept[] = [];
    for (const each of kept) {
      const { event, left } = each;
      const isWhole = left === event.moved && left === event.credit + event.fee + event.tax;
      const booked = sumParts([event]);
      const parts =
        isWhole && isNoMore(addParts(gone, booked), paid)
          ? booked
          : partsOfTaken(cents(left / MICROS_PER_CENT), paid, gone);
      if (parts !== booked && left > 0n) rounded.push(each);
      gone = addParts(gone, parts);
      each.credit = parts.creditCents * MICROS_PER_CENT;
    }
    const off = this.creditAfterCovers(first.event.source, paid) - gone.creditCents;
    const last = rounded.at(-1);
    const most = BigInt(rounded.length);
    if (last !== undefined && off >= -most && off <= most) last.credit += off * MICROS_PER_CENT;
  }

  /** What is away of the credit of its payment, and what disputes will have of it for what they hold beyond the payment. */
  private creditAfterCovers(source: string, paid: Parts): bigint {
    const payment = this.links.get(source)?.payment;
    const events = this.events.filter((event) => this.links.get(event.source)?.payment === payment);
    let gone = sumParts(events);
    for (const each of new Set(events.map((event) => event.source))) {
      const own = events.filter((event) => event.source === each);
      const beyond = sum(own.map(({ moved, credit, fee, tax }) => moved - credit - fee - tax));
      if (beyond > 0n) gone = addParts(gone, partsOfTaken(cents(beyond / MICROS_PER_CENT), paid, gone));
    }
    return gone.creditCents;
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

/** As they were booked. */
function sumParts(events: readonly Event[]): Parts {
  const total = (part: Part) => cents(sum(events.map((event) => event[part])) / MICROS_PER_CENT);
  return { creditCents: total('credit'), feeCents: total('fee'), taxCents: total('tax') };
}

function isNoMore(parts: Parts, paid: Parts): boolean {
  return (
    parts.creditCents <= paid.creditCents &&
    parts.feeCents <= paid.feeCents &&
    parts.taxCents <= paid.taxCents
  );
}

/** The dispute or refund that a movement is of: `dispute:<id>`, `refund:<id>`. */
function toSource(reference: string): string {
  return reference.split(':', 2).join(':');
}

const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((total, amount) => total + amount, 0n);
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

import type { WalletCommand } from '../../../src/money/wallets/rules/command.js';
import { ReferenceReliefs } from './reference-reliefs.js';

/**
 * The wallet's rules written a second time, as plainly as possible: JavaScript numbers, one mutable object,
 * no ledger, no batches. It shares no code with the rules, so a mistake would have to be made twice.
 */
type ReferenceLot = {
  id: string;
  paid: boolean;
  refundable: boolean;
  left: number;
  priority: number;
  expires: number;
  born: number;
  order: number;
};
type ReferenceHold = {
  amount: number;
  captured: number;
  status: string;
  expires: number;
  reference: string;
  body: string;
};
/** One row for each spend of a key: what a budget has used is their sum over the period, no matter who limits it and when. */
type ReferenceSpend = { key: string; at: number; hold: string | null; amount: number };
type ReferenceLimits = { day: number | null; month: number | null; total: number | null };

const NO_LIMITS: ReferenceLimits = { day: null, month: null, total: null };

export class ReferenceWallet {
  /** Why it is frozen. */
  reasons: string[] = [];
  debt = 0;
  lots: ReferenceLot[] = [];
  holds = new Map<string, ReferenceHold>();
  references = new Map<string, string>();
  private readonly reliefs = new ReferenceReliefs();
  limits = new Map<string, ReferenceLimits>();
  private spends: ReferenceSpend[] = [];
  /** What the ledger must have come to: what was charged, what lies at Stripe, and what disputes and refunds lost us. */
  revenue = 0;
  atStripe = 0;
  losses = 0;
  private born = 0;

  get status(): string {
    return this.reasons.length > 0 ? 'frozen' : 'active';
  }

  get held(): number {
    return [...this.holds.values()].reduce(
      (sum, hold) => sum + (hold.status === 'authorized' ? hold.amount : 0),
      0,
    );
  }

  get posted(): number {
    return this.lots.reduce((sum, lot) => sum + lot.left, 0) - this.debt;
  }

  get available(): number {
    return this.posted - this.held;
  }

  /** What the key has used of the day, the month and all time that `at` is in. */
  used(key: string, at: number): number[] {
    const parts = (time: number): string[] => [
      new Date(time).toISOString().slice(0, 10),
      new Date(time).toISOString().slice(0, 7),
      '',
    ];
    return parts(at).map((part, index) =>
      this.spends
        .filter((spend) => spend.key === key && parts(spend.at)[index] === part)
        .reduce((sum, spend) => {
          const hold = spend.hold === null ? undefined : this.holds.get(spend.hold);
          return sum + (hold && hold.status !== 'authorized' ? hold.captured : spend.amount);
        }, 0),
    );
  }

  /** Answers `ok`, `again`, `resolved`, `not_due`, or the code of a rejection. */
  run(command: WalletCommand, now: number): string {
    if ('reference' in command) {
      if (command.type === 'authorize') {
        const earlier = [...this.holds.values()].find((hold) => hold.reference === command.reference);
        if (earlier) return earlier.body === command.fingerprint ? 'again' : 'reference_conflict';
      } else {
        const body = this.references.get(command.reference);
        // A write-off has no body that could be another one.
        if (body !== undefined && command.type === 'writeOff') return 'again';
        if (body !== undefined && 'fingerprint' in command)
          return body === command.fingerprint ? 'again' : 'reference_conflict';
      }
    }
    // A refusal must leave no trace, lapsed credit included: work on a copy and keep it only on success.
    const before = {
      reasons: [...this.reasons],
      debt: this.debt,
      lots: this.lots.map((lot) => ({ ...lot })),
      revenue: this.revenue,
    };
    const answer = this.decide(command, now);
    if (answer !== 'ok') Object.assign(this, before);
    else if ('reference' in command && command.type !== 'authorize')
      this.references.set(command.reference, 'fingerprint' in command ? command.fingerprint : '');
    return answer;
  }

  private decide(command: WalletCommand, now: number): string {
    switch (command.type) {
      case 'credit':
        if (command.amountMicros <= 0n) return 'invalid_amount';
        this.addLot(command.lotId, true, Number(command.amountMicros), 0, command.expiresAtMs, now, true);
        this.atStripe += Number(command.amountMicros + command.feeMicros + command.taxMicros);
        return 'ok';
      case 'reinstate': {
        const amount = Number(command.amountMicros);
        if (amount < 0 || movedAtStripe(command) === 0) return 'invalid_amount';
        const { owedAgain, given } = this.reliefs.comesBack(command.reference, amount);
        this.debt += owedAgain;
        this.losses -= owedAgain + Number(command.excessMicros);
        this.atStripe += movedAtStripe(command);
        if (amount > given) this.addLot(command.lotId, true, amount - given, 0, null, now, true);
        if (given > 0) this.repayGiven(command.reference, command.givenLotId, given, now);
        return 'ok';
      }
      case 'grant':
        if (command.amountMicros <= 0n) return 'invalid_amount';
        this.addLot(
          command.lotId,
          false,
          Number(command.amountMicros),
          command.priority,
          command.expiresAtMs,
          now,
        );
        return 'ok';
      case 'debit': {
        const amount = Number(command.amountMicros);
        if (amount <= 0) return 'invalid_amount';
        const refusal = this.refuseKey(command.keyId, amount, now) ?? this.refuse(amount, now);
        if (refusal) return refusal;
        if (command.keyId !== null) this.spends.push({ key: command.keyId, at: now, hold: null, amount });
        this.burn(this.alive(now), amount);
        this.revenue += amount;
        return 'ok';
      }
      case 'authorize': {
        const amount = Number(command.amountMicros);
        if (amount <= 0) return 'invalid_amount';
        const refusal = this.refuseKey(command.keyId, amount, now) ?? this.refuse(amount, now);
        if (refusal) return refusal;
        if (command.keyId !== null) {
          this.spends.push({ key: command.keyId, at: now, hold: command.holdId, amount });
        }
        this.holds.set(command.holdId, {
          amount,
          captured: 0,
          status: 'authorized',
          expires: command.expiresAtMs,
          reference: command.reference,
          body: command.fingerprint,
        });
        return 'ok';
      }
      case 'capture':
        return this.capture(command.holdId, Number(command.amountMicros));
      case 'void':
        return this.resolve(command.holdId, 'voided', 0);
      case 'expireHold': {
        const hold = this.holds.get(command.holdId);
        if (hold?.status === 'authorized' && hold.expires > now) return 'not_due';
        return this.resolve(command.holdId, 'expired', 0);
      }
      case 'setKeyBudget':
        return this.limit(command.keyId, command.limits);
      case 'expireLots':
        this.lapse(now);
        return 'ok';
      case 'reverseCredit':
        return this.reverseCredit(command, now);
      case 'writeOff': {
        const given = Math.max(0, Math.min(this.reliefs.notGivenUp(command.reference), this.debt));
        if (given === 0) return 'nothing_owed';
        this.debt -= given;
        this.losses += given;
        this.reliefs.add(command.reference, true, given, this.debt);
        return 'ok';
      }
      case 'adjust':
        return this.adjust(command.reference, command.lotId, Number(command.amountMicros), now);
      case 'book':
        // Of the platform's own book only.
        return 'account_not_found';
      case 'freeze':
        this.freeze(command.freeze);
        return 'ok';
      case 'unfreeze': {
        const { source, sourceId } = command.lifts;
        const left = this.reasons.filter(
          (reason) => source !== undefined && reason !== `${source}/${sourceId}`,
        );
        const isLast = left.length === 0 && this.reasons.length > 0;
        if (isLast && (this.debt > 0 || this.available < 0)) return 'wallet_in_debt';
        this.reasons = left;
        return 'ok';
      }
    }
  }

  private limit(key: string, changes: { [period in keyof ReferenceLimits]?: bigint | null }): string {
    const limits = { ...(this.limits.get(key) ?? { day: null, month: null, total: null }) };
    for (const period of ['day', 'month', 'total'] as const) {
      const change = changes[period];
      if (change === undefined) continue;
      if (change !== null && change <= 0n) return 'invalid_amount';
      limits[period] = change === null ? null : Number(change);
    }
    this.limits.set(key, limits);
    return 'ok';
  }

  private refuseKey(key: string | null, amount: number, now: number): string | null {
    if (key === null) return null;
    const [day = 0, month = 0, total = 0] = this.used(key, now);
    const { day: daily, month: monthly, total: ever } = this.limits.get(key) ?? NO_LIMITS;
    const passes = (used: number, limit: number | null) => limit !== null && used + amount > limit;
    return passes(day, daily) || passes(month, monthly) || passes(total, ever) ? 'key_limit_reached' : null;
  }

  private refuse(amount: number, now: number): string | null {
    this.lapse(now);
    if (this.status === 'frozen') return 'wallet_frozen';
    return this.available < amount ? 'insufficient_credits' : null;
  }

  private capture(holdId: string, amount: number): string {
    const hold = this.holds.get(holdId);
    if (!hold) return 'hold_not_found';
    if (amount <= 0) return 'invalid_amount';
    if (amount > hold.amount) return 'amount_exceeds_hold';
    const answer = this.resolve(holdId, 'captured', amount);
    if (answer === 'ok') {
      this.debt += this.burn(this.inOrder(), amount);
      this.revenue += amount;
    }
    return answer;
  }

  private resolve(holdId: string, status: string, captured: number): string {
    const hold = this.holds.get(holdId);
    if (!hold) return 'hold_not_found';
    if (hold.status !== 'authorized')
      return hold.status === status && hold.captured === captured ? 'again' : 'resolved';
    hold.status = status;
    hold.captured = captured;
    return 'ok';
  }

  private reverseCredit(command: Extract<WalletCommand, { type: 'reverseCredit' }>, now: number): string {
    const amount = Number(command.amountMicros);
    const { feeMicros, taxMicros, excessMicros } = command;
    if (amount < 0 || [amount, feeMicros, taxMicros, excessMicros].every((part) => Number(part) === 0))
      return 'invalid_amount';
    this.lapse(now);
    const paid = this.inOrder().filter((lot) => lot.refundable);
    const sorted = [
      ...paid.filter((lot) => lot.id === command.lotId),
      ...paid.filter((lot) => lot.id !== command.lotId),
    ];
    const total = paid.reduce((sum, lot) => sum + lot.left, 0);
    const lacks = total < amount || this.available < amount;
    if (lacks && command.freeze === null) return 'insufficient_credits';
    const isNewDispute = command.cause === 'dispute' && excessMicros >= 0n;
    if (command.freeze && (lacks || isNewDispute)) this.freeze(command.freeze);
    const missing = this.burn(sorted, amount);
    this.debt += missing;
    this.losses += Number(command.excessMicros);
    this.atStripe -= movedAtStripe(command);
    this.reliefs.moves(command.reference, amount);
    return 'ok';
  }

  /** Credit that goes to no card. What it pays of the debt is noted. */
  private repayGiven(reference: string, lotId: string, amount: number, now: number): void {
    const owed = this.debt;
    this.addLot(lotId, true, amount, 0, null, now);
    this.reliefs.add(reference, false, owed - this.debt, this.debt);
  }

  private freeze({ source, sourceId }: { source: string; sourceId: string }): void {
    const reason = `${source}/${sourceId}`;
    if (!this.reasons.includes(reason)) this.reasons.push(reason);
  }

  private adjust(reference: string, lotId: string, amount: number, now: number): string {
    if (amount === 0) return 'invalid_amount';
    if (amount > 0) {
      this.repayGiven(reference, lotId, amount, now);
      return 'ok';
    }
    this.lapse(now);
    const paid = this.alive(now).filter((lot) => lot.paid);
    const total = paid.reduce((sum, lot) => sum + lot.left, 0);
    if (this.available < -amount || total < -amount) return 'insufficient_credits';
    this.burn(paid, -amount);
    return 'ok';
  }

  private addLot(
    id: string,
    paid: boolean,
    amount: number,
    priority: number,
    expires: number | null,
    now: number,
    refundable = false,
  ): void {
    const repaid = paid ? Math.min(this.debt, amount) : 0;
    this.debt -= repaid;
    this.lots.push({
      id,
      paid,
      refundable,
      left: amount - repaid,
      priority,
      expires: expires ?? Infinity,
      born: now,
      order: this.born++,
    });
  }

  private inOrder(): ReferenceLot[] {
    return [...this.lots].sort(
      (a, b) =>
        Number(a.paid) - Number(b.paid) ||
        a.priority - b.priority ||
        (a.expires === b.expires ? 0 : a.expires - b.expires) ||
        a.born - b.born ||
        (a.id < b.id ? -1 : 1),
    );
  }

  private alive(now: number): ReferenceLot[] {
    return this.inOrder().filter((lot) => lot.expires > now);
  }

  /** Takes what it can and answers what was missing. */
  private burn(lots: ReferenceLot[], amount: number): number {
    for (const lot of lots) {
      const part = Math.min(lot.left, amount);
      lot.left -= part;
      amount -= part;
    }
    return amount;
  }

  /** Lapsed credit goes, but for what running calls reserved when they reserved in burn order. */
  private lapse(now: number): void {
    let reserved = this.held;
    for (const lot of this.inOrder()) {
      const kept = Math.min(lot.left, reserved);
      reserved -= kept;
      if (lot.expires <= now) lot.left = kept;
    }
  }
}

type Returned = Extract<WalletCommand, { type: 'reverseCredit' | 'reinstate' }>;

function movedAtStripe({ amountMicros, feeMicros, taxMicros, excessMicros }: Returned): number {
  return Number(amountMicros + feeMicros + taxMicros + excessMicros);
}

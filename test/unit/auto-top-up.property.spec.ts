import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { cents, micros } from '../../src/platform/common/money.js';
import type { AutoTopUpTerms } from '../../src/payments/auto-top-ups/auto-top-up.js';
import type { AutoTopUpStatus } from '../../src/payments/auto-top-ups/auto-top-up.machine.js';
import {
  dayStartMs,
  decide,
  monthStartMs,
  reactTo,
  type AutoTopUpUsage,
  type Decision,
  type Situation,
} from '../../src/payments/auto-top-ups/auto-top-up.rules.js';
import { casesFor, checkProperty } from '../support/property.js';

const CHARGE_CENTS = 2_100n;
const CREDIT_MICROS = 20_000_000n;
const MINUTE_MS = 60_000;

type Charge = {
  readonly atMs: number;
  readonly revision: number;
  status: 'created' | 'dispatched' | 'paid' | 'declined' | 'withdrawn';
};

/** What one worker saw of the wallet, some time before it acts: as stale as it happens to be. */
type Seen = { readonly available: bigint; readonly frozen: boolean };

type Step =
  | { readonly do: 'pass'; readonly minutes: number }
  | { readonly do: 'spend'; readonly micros: number }
  | { readonly do: 'freeze'; readonly frozen: boolean }
  | { readonly do: 'read' | 'start' | 'dispatch'; readonly worker: number }
  | {
      readonly do: 'answer';
      readonly worker: number;
      readonly answer: 'paid' | 'declined' | 'needs_customer';
    }
  | { readonly do: 'switch'; readonly on: boolean; readonly terms: number };

const worker = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      minutes: fc.constantFrom(0, 1, 5, 59, 61, 700, 1_440, 20_000),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('spend' as const),
      micros: fc.constantFrom(1, 4_000_000, 30_000_000, 30_000_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('freeze' as const), frozen: fc.constantFrom(true, false, false) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('read' as const, 'start' as const, 'dispatch' as const),
      worker,
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('start' as const), worker }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('answer' as const),
      worker,
      answer: fc.constantFrom(
        'paid' as const,
        'paid' as const,
        'paid' as const,
        'declined' as const,
        'needs_customer' as const,
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('switch' as const),
      on: fc.constantFrom(true, true, false),
      terms: fc.nat(3),
    }),
  },
);

const TERMS: readonly AutoTopUpTerms[] = [
  termsOf({ dailyMaxCount: 2 }),
  termsOf({ dailyMaxCents: cents(4_199n), monthlyMaxCount: 3 }),
  termsOf({ monthlyMaxCents: cents(8_400n), cooldownSeconds: 3_600 }),
  termsOf({ dailyMaxCount: 100, monthlyMaxCount: 4, cooldownSeconds: 86_400 }),
];

function termsOf(changes: Partial<AutoTopUpTerms>): AutoTopUpTerms {
  return {
    thresholdMicros: micros(5_000_000n),
    amountCents: cents(2_000n),
    dailyMaxCount: 50,
    dailyMaxCents: cents(1_000_000n),
    monthlyMaxCount: 500,
    monthlyMaxCents: cents(10_000_000n),
    cooldownSeconds: 60,
    ...changes,
  };
}

/**
 * One account and four workers that read, start, dispatch and hear answers in any interleaving. Each step is what one tx
 * under the lock of the account's settings does; between two steps of a worker the other workers may act.
 */
class Account {
  nowMs = Date.UTC(2026, 0, 30, 23, 50);
  status: AutoTopUpStatus = 'on';
  revision = 1;
  terms = TERMS[0] as AutoTopUpTerms;
  available = 10_000_000n;
  frozen = false;
  readonly charges: Charge[] = [];
  readonly seen = new Map<number, Seen>();
  charged = 0;
  /** The revision that was last switched on; null after any "off". Nothing but this says what may go out. */
  private switchedOn: number | null = 1;

  take(next: Step): void {
    switch (next.do) {
      case 'pass':
        this.nowMs += next.minutes * MINUTE_MS;
        return;
      case 'spend':
        this.available -= BigInt(next.micros) < this.available ? BigInt(next.micros) : this.available;
        return;
      case 'freeze':
        this.frozen = next.frozen;
        return;
      case 'read':
        this.seen.set(next.worker, { available: this.available, frozen: this.frozen });
        return;
      case 'start':
        return this.start(next.worker);
      case 'dispatch':
        return this.dispatch();
      case 'answer':
        return this.answer(next.answer);
      case 'switch':
        return this.switch(next.on, TERMS[next.terms] ?? this.terms);
    }
  }

  get open(): Charge | undefined {
    return this.charges.find(({ status }) => status === 'created' || status === 'dispatched');
  }

  private start(workerId: number): void {
    const seen = this.seen.get(workerId) ?? { available: this.available, frozen: this.frozen };
    const situation = this.situation(seen);
    const decision = decide(this.status, this.terms, situation);
    agree(decision.kind === 'charge', this.naivelyMayCharge(seen), 'whether the card is charged');
    this.checkWait(decision, situation);
    // The unique index.
    if (decision.kind !== 'charge' || this.open !== undefined) return;
    this.charges.push({ atMs: this.nowMs, revision: this.revision, status: 'created' });
    this.checkCaps();
  }

  /** A wait is never too short: until its end nothing but other facts can make it a charge. */
  private checkWait(decision: Decision, situation: Situation): void {
    if (decision.kind !== 'wait') return;
    agree(decision.untilMs > this.nowMs, true, 'that a wait ends later');
    const justBefore = { ...situation, nowMs: decision.untilMs - 1 };
    const { day, ...usage } = situation.usage;
    const sameDay = dayStartMs(justBefore.nowMs) === dayStartMs(this.nowMs);
    const usageThen = { ...usage, day: sameDay ? day : { count: 0, cents: 0n } };
    const then = decide(this.status, this.terms, { ...justBefore, usage: usageThen });
    agree(then.kind === 'charge', false, 'that a wait is not too long');
  }

  private dispatch(): void {
    const charge = this.open;
    if (charge?.status !== 'created') return;
    const mayGo = this.status === 'on' && charge.revision === this.revision && !this.frozen;
    charge.status = mayGo ? 'dispatched' : 'withdrawn';
    if (!mayGo) return;
    this.charged += 1;
    agree(this.switchedOn, charge.revision, 'the words under which a charge goes out');
  }

  private answer(answer: 'paid' | 'declined' | 'needs_customer'): void {
    const charge = this.open;
    if (charge?.status !== 'dispatched') return;
    charge.status = answer === 'paid' ? 'paid' : 'declined';
    if (answer === 'paid') {
      this.available += CREDIT_MICROS;
      return;
    }
    if (this.status !== 'on' || charge.revision !== this.revision) return;
    const code = answer === 'declined' ? 'card_declined' : 'authentication_required';
    const adviceCode = answer === 'declined' ? 'try_again_later' : null;
    const reaction = reactTo({ code, declineCode: null, adviceCode }, this.declinesInARow());
    if (reaction.kind === 'action_required') this.status = 'action_required';
    if (reaction.kind === 'switch_off') this.status = 'off';
    agree(
      this.status === 'on',
      answer === 'declined' && this.declinesInARow() < 2,
      'what a decline leads to',
    );
    if (this.status !== 'on') this.switchedOn = null;
  }

  private switch(on: boolean, terms: AutoTopUpTerms): void {
    for (const charge of this.charges) if (charge.status === 'created') charge.status = 'withdrawn';
    this.status = on ? 'on' : 'off';
    this.switchedOn = on ? this.revision + 1 : null;
    if (!on) return;
    this.revision += 1;
    this.terms = terms;
  }

  private situation(seen: Seen): Situation {
    return {
      nowMs: this.nowMs,
      availableMicros: micros(seen.available),
      frozen: seen.frozen,
      disputed: false,
      taxed: false,
      chargeCents: cents(CHARGE_CENTS),
      card: { expMonth: 12, expYear: 2034, attached: true },
      usage: this.usage(),
    };
  }

  private usage(): AutoTopUpUsage {
    const since = (fromMs: number) => {
      const taken = this.charges.filter(({ atMs, status }) => atMs >= fromMs && isTaken(status));
      return { count: taken.length, cents: BigInt(taken.length) * CHARGE_CENTS };
    };
    const started = this.charges.filter(({ status }) => status !== 'withdrawn');
    return {
      day: since(dayStartMs(this.nowMs)),
      month: since(monthStartMs(this.nowMs)),
      lastStartedAtMs: started.at(-1)?.atMs ?? null,
      declinesInARow: this.declinesInARow(),
    };
  }

  private declinesInARow(): number {
    const lastPaid = this.charges.findLastIndex(({ status }) => status === 'paid');
    return this.charges.filter(
      ({ status, revision }, index) =>
        index > lastPaid && status === 'declined' && revision === this.revision,
    ).length;
  }

  /** The words of the terms, one after the other, with calendar dates instead of arithmetic. */
  private naivelyMayCharge({ available, frozen }: Seen): boolean {
    if (this.status !== 'on' || frozen || available >= this.terms.thresholdMicros) return false;
    const last = this.charges.findLast(({ status }) => status !== 'withdrawn');
    const elapsedMs = last === undefined ? Infinity : this.nowMs - last.atMs;
    if (elapsedMs < this.terms.cooldownSeconds * 1_000) return false;
    if (this.declinesInARow() > 0 && elapsedMs < 60 * MINUTE_MS) return false;
    return this.withinCaps(1);
  }

  private withinCaps(more: number): boolean {
    const day = this.takenIn(10) + more;
    const month = this.takenIn(7) + more;
    const { dailyMaxCount, dailyMaxCents, monthlyMaxCount, monthlyMaxCents } = this.terms;
    const within = (count: number, maxCount: number, maxCents: bigint) =>
      count <= maxCount && BigInt(count) * CHARGE_CENTS <= maxCents;
    return within(day, dailyMaxCount, dailyMaxCents) && within(month, monthlyMaxCount, monthlyMaxCents);
  }

  /** Of this day (10 characters of a date) or month (7). */
  private takenIn(length: number): number {
    const period = (ms: number) => new Date(ms).toISOString().slice(0, length);
    return this.charges.filter(({ atMs, status }) => isTaken(status) && period(atMs) === period(this.nowMs))
      .length;
  }

  private checkCaps(): void {
    agree(this.withinCaps(0), true, 'that the caps hold');
    const open = this.charges.filter(({ status }) => status === 'created' || status === 'dispatched');
    agree(open.length, 1, 'that one charge is under way');
  }
}

/** A plain comparison: a million of `expect` take half a minute. */
function agree<T>(found: T, expected: T, what: string): void {
  if (found !== expected) throw new Error(`${what}: ${String(found)}, not ${String(expected)}`);
}

const isTaken = (status: Charge['status']): boolean => status !== 'declined' && status !== 'withdrawn';

describe('auto top-up', () => {
  it('is never above a cap, never two at once, and never goes out after "off", however four workers interleave', async () => {
    let charged = 0;
    const property = fc.property(fc.array(step, { minLength: 60, maxLength: 200 }), (steps) => {
      const account = new Account();
      for (const next of steps) account.take(next);
      charged += account.charged;
    });
    await checkProperty('auto top-up', property, { runs: 10_000 });
    // Otherwise nothing was tested.
    expect(charged).toBeGreaterThan(casesFor(10_000));
  }, 120_000);
});

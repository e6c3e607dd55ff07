import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { micros, type MicroUsd } from '../../src/common/money.js';
import type { EarlierMovement, WalletCommand } from '../../src/wallets/rules/command.js';
import { LotReplay } from '../../src/ledger/lot-replay.js';
import { toCanonicalFields } from '../../src/ledger/transfer.js';
import { ReliefReplay } from '../../src/wallets/proof/relief-replay.js';
import { checkProperty } from '../support/property.js';
import { MemoryStore } from '../support/wallet/memory-store.js';

const ACCOUNT = 'acct_01ARZ3NDEKTSV4RRFFQ69G5FAV';
const ZERO = micros(0n);

/** Of dispute 0 nothing is left in the end; of the others some may come back, and some stay lost. */
type Step =
  | { readonly kind: 'buy' | 'spend' | 'hold' | 'give'; readonly amount: number }
  /** Of one of the open holds. */
  | { readonly kind: 'capture'; readonly hold: number; readonly amount: number }
  | { readonly kind: 'take' | 'give_back' | 'write_off'; readonly dispute: number; readonly amount: number };

const amount = fc.integer({ min: 1, max: 20 });
const dispute = fc.integer({ min: 0, max: 2 });
type PlainKind = 'buy' | 'spend' | 'hold' | 'capture' | 'give';
const stepOf = (...kinds: readonly PlainKind[]): fc.Arbitrary<Step> =>
  fc.oneof(
    fc
      .record({ kind: fc.constantFrom(...kinds), amount, hold: fc.nat({ max: 3 }) })
      .map(({ kind, hold, ...step }) => (kind === 'capture' ? { kind, hold, ...step } : { kind, ...step })),
    fc.record({ kind: fc.constantFrom('take', 'give_back', 'write_off'), dispute, amount }),
  );

/** One history, command by command, with what was taken for each dispute and is not back. */
class History {
  readonly store = new MemoryStore(ACCOUNT);
  private readonly away = [0, 0, 0];
  private readonly movements: EarlierMovement[][] = [[], [], []];
  private readonly openHolds: { readonly holdId: string; readonly held: number }[] = [];
  private count = 0;

  /** Answers whether it was possible. No more comes back than was taken. */
  take(step: Step): boolean {
    this.count += 1;
    const named = { accountId: ACCOUNT, actor: 'system', fingerprint: '', memo: null };
    const own = `${step.kind}:${this.count}`;
    const reference = 'dispute' in step ? `dispute:${step.dispute}:${own}` : own;
    const amountMicros = micros(BigInt(step.amount));
    const lotId = `lot_${this.count}`;
    const beside = { feeMicros: ZERO, taxMicros: ZERO, excessMicros: ZERO };
    switch (step.kind) {
      case 'buy': {
        const { feeMicros, taxMicros } = beside;
        const bought = { lotId, amountMicros, feeMicros, taxMicros, expiresAtMs: null };
        return this.run({ type: 'credit', cause: 'top_up', ...named, reference, ...bought });
      }
      case 'spend':
        return this.run({ type: 'debit', ...named, reference, keyId: null, amountMicros });
      case 'hold': {
        const holdId = `hold_${this.count}`;
        const held = { keyId: null, holdId, amountMicros, expiresAtMs: 1 };
        const done = this.run({ type: 'authorize', ...named, reference, ...held });
        if (done) this.openHolds.push({ holdId, held: step.amount });
        return done;
      }
      case 'capture': {
        const [open] = this.openHolds.splice(step.hold % Math.max(1, this.openHolds.length), 1);
        if (open === undefined) return false;
        const captured = micros(BigInt(Math.min(open.held, step.amount)));
        return this.run({ type: 'capture', ...named, holdId: open.holdId, amountMicros: captured });
      }
      case 'give':
        return this.run({ type: 'adjust', ...named, reference, lotId, amountMicros });
      case 'take': {
        this.away[step.dispute] = (this.away[step.dispute] ?? 0) + step.amount;
        const ids = { id: reference, statusChangeId: reference, sourceId: reference };
        const freeze = { ...ids, source: 'dispute', reason: 'dispute' } as const;
        const taken = { lotId: `lot_${1 + step.dispute}`, amountMicros, ...beside, freeze };
        const done = this.run({ type: 'clawBack', cause: 'dispute', ...named, reference, ...taken });
        this.note(step.dispute, { effect: 'taken', reference });
        return done;
      }
      case 'give_back': {
        const part = Math.min(step.amount, this.away[step.dispute] ?? 0);
        if (part === 0) return false;
        this.away[step.dispute] = (this.away[step.dispute] ?? 0) - part;
        const lots = {
          lotId,
          givenLotId: `${lotId}_given`,
          takenAgain: [],
          amountMicros: micros(BigInt(part)),
        };
        const earlier = [...(this.movements[step.dispute] ?? [])];
        const back = { ...lots, ...beside, earlier };
        const done = this.run({ type: 'reinstate', ...named, reference, ...back });
        this.note(step.dispute, { effect: 'returned', reference });
        return done;
      }
      case 'write_off': {
        const earlier = [...(this.movements[step.dispute] ?? [])];
        return this.run({ type: 'writeOff', ...named, reference, earlier });
      }
    }
  }

  private note(of: number, movement: EarlierMovement): void {
    this.movements[of]?.push(movement);
  }

  private run(command: WalletCommand): boolean {
    const [result] = this.store.run([command], 0);
    // A person looks, and lets the customer go on as soon as nothing is owed.
    const lift = { lifts: {}, reason: 'looked at', statusChangeId: `wsc_${this.count}` };
    this.store.run([{ type: 'unfreeze', accountId: ACCOUNT, actor: 'system', ...lift }], 0);
    // A write-off that found nothing to give up is no decision that the other history would repeat.
    return result?.accepted === true && result.outcome.type !== 'nothing_owed';
  }

  giveAllBack(of: number): void {
    this.take({ kind: 'give_back', dispute: of, amount: this.away[of] ?? 0 });
  }

  get refundable(): MicroUsd {
    const lots = this.store.wallet.lots.filter((lot) => lot.refundable);
    return micros(lots.reduce((sum, lot) => sum + lot.remainingMicros, 0n));
  }

  givenUpOf(of: number): bigint {
    const reliefs = [...this.store.reliefs.values()].filter(({ reference }) =>
      reference.startsWith(`dispute:${of}:write_off:`),
    );
    return reliefs.reduce((sum, { amountMicros, undoneMicros }) => sum + amountMicros - undoneMicros, 0n);
  }

  /** What was given up and is not owed again. */
  get givenUp(): bigint {
    return this.store.transfers.reduce((sum, { kind, amountMicros }) => {
      if (kind === 'write_off') return sum + amountMicros;
      return kind === 'write_off_reversal' ? sum - amountMicros : sum;
    }, 0n);
  }
}

/** The history, and its steps that were possible. */
function playOn(
  after: History,
  steps: readonly Step[],
): { readonly after: History; readonly done: readonly Step[] } {
  return { after, done: steps.filter((step) => after.take(step)) };
}

/** The history, and the same one without dispute 0: what could be spent with it can be spent without it. */
function play(steps: readonly Step[]): { readonly after: History; readonly without: History } {
  const { after, done } = playOn(new History(), steps);
  after.giveAllBack(0);
  const isOther = (step: Step): boolean => !('dispute' in step && step.dispute === 0);
  return { after, without: playOn(new History(), done.filter(isOther)).after };
}

/** What the doctor, which plays the ledger again by rules of its own, finds wrong with a history. */
function faultsOf({ store }: History): readonly unknown[] {
  const lots = new LotReplay();
  const replay = new ReliefReplay(store.givenLotIds, new Set(), true, []);
  const faults = store.transfers.map((transfer) => {
    const before = lots.debt;
    const row = { ...toCanonicalFields(transfer), hash: transfer.hash };
    lots.next(row);
    return replay.next(row, before, lots.debt);
  });
  const stored = [...store.reliefs].map(
    ([seq, { owedBesideMicros: beside, undoneMicros: undone }]) => [`${seq}`, { beside, undone }] as const,
  );
  return [...faults, replay.end(), ...replay.differences(new Map(stored))].filter((fault) => fault !== null);
}

describe('the doctor', () => {
  it('comes by itself to what the engine wrote down of each relief, whatever was held, charged, given and written off', async () => {
    await checkProperty(
      'reliefs follow from the ledger',
      fc.property(
        fc.array(stepOf('buy', 'spend', 'hold', 'capture', 'give'), { maxLength: 20 }),
        fc.array(fc.nat({ max: 2 }), { maxLength: 3 }),
        (steps, won) => {
          const { after } = playOn(new History(), steps);
          for (const each of won) after.giveAllBack(each);
          expect(faultsOf(after)).toEqual([]);
        },
      ),
      { runs: 2_000 },
    );
  });
});

describe('money that a dispute took and gave back', () => {
  it('leaves the wallet as if it had never been taken, whatever else was disputed, bought, spent and written off meanwhile', async () => {
    await checkProperty(
      'a dispute that is won leaves no trace',
      fc.property(fc.array(stepOf('buy', 'spend', 'hold', 'capture'), { maxLength: 14 }), (steps) => {
        const { after, without } = play(steps);
        const net = ({ store, givenUp }: History): bigint => store.wallet.postedMicros - givenUp;
        expect(net(after)).toBe(net(without));
        // Without the dispute an operator would not have given up for it what others left as debt, and may have since.
        if (after.givenUpOf(0) > 0n) return;
        const left = ({ refundable, givenUp, store }: History) => ({
          debt: store.wallet.debtMicros,
          refundable,
          givenUp,
        });
        expect(left(after)).toEqual(left(without));
      }),
      { runs: 2_000 },
    );
  });

  it('never makes credit that was given refundable, and costs nobody anything, whatever was given meanwhile', async () => {
    await checkProperty(
      'given credit stays given credit when a dispute is won',
      fc.property(
        fc.array(stepOf('buy', 'spend', 'hold', 'capture'), { maxLength: 6 }),
        fc.array(stepOf('buy', 'give'), { maxLength: 10 }),
        (before, later) => {
          // Nothing before the end: given credit that pays a later debt frees what is bought after that.
          const { after, without } = play([...before, ...later].filter(({ kind }) => kind !== 'give_back'));
          const net = ({ store, givenUp }: History): bigint => store.wallet.postedMicros - givenUp;
          expect(net(after)).toBe(net(without));
          expect(after.refundable <= without.refundable + after.givenUpOf(0)).toBe(true);
        },
      ),
      { runs: 2_000 },
    );
  });

  it('leaves nothing written off once all of it is back', async () => {
    await checkProperty(
      'disputes that are all won leave no trace',
      fc.property(
        fc.array(stepOf('buy', 'spend', 'hold', 'capture'), { maxLength: 14 }),
        fc.shuffledSubarray([0, 1, 2], { minLength: 3 }),
        (steps, order) => {
          const { after, done } = playOn(new History(), steps);
          for (const each of order) after.giveAllBack(each);
          const { after: without } = playOn(
            new History(),
            done.filter((step) => !('dispute' in step)),
          );
          expect(after.givenUp).toBe(0n);
          expect([after.store.wallet.postedMicros, after.refundable]).toEqual([
            without.store.wallet.postedMicros,
            without.refundable,
          ]);
        },
      ),
      { runs: 1_000 },
    );
  });
});

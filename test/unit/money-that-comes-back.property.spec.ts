import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { LotReplay } from '../../src/money/ledger/lot-replay.js';
import { toCanonicalFields } from '../../src/money/ledger/transfer.js';
import { ReliefReplay } from '../../src/finance/audit/proof/relief-replay.js';
import { AwayHistory } from '../../src/money/wallets/rules/returned-money.js';
import { undo } from '../../src/money/wallets/rules/reversals.js';
import { micros } from '../../src/platform/common/money.js';
import { checkProperty } from '../support/property.js';
import { ReturnedPayments, type ReturnStep, type Source } from '../support/wallet/returned-payments.js';

/** Of two payments. */
const DISPUTES: readonly Source[] = ['dispute:0', 'dispute:1', 'dispute:2', 'dispute:3'];
const REFUNDS: readonly Source[] = ['refund:0', 'refund:1'];
const OF_FIRST: readonly Source[] = ['dispute:0', 'dispute:1', 'dispute:2', 'refund:0'];
const SOURCES = [...DISPUTES, ...REFUNDS];

type PlainKind = 'buy' | 'spend' | 'hold' | 'capture' | 'give';

/** `unit`: what all amounts are multiples of. 21 cents are 20 of credit and one of fee, so that no cent is rounded. */
function stepOf(unit: number, ...kinds: readonly PlainKind[]): fc.Arbitrary<ReturnStep> {
  const amount = fc.integer({ min: 1, max: Math.floor(126 / unit) }).map((units) => units * unit);
  const coverFirst = fc.boolean();
  const source = fc.constantFrom(...SOURCES);
  const moved = fc.record({
    kind: fc.constantFrom('take', 'give_back', 'write_off'),
    source,
    amount,
    coverFirst,
  });
  const plain = fc.record({ kind: fc.constantFrom(...kinds), amount, hold: fc.nat({ max: 3 }) });
  return fc.oneof({ weight: 1, arbitrary: plain }, { weight: 4, arbitrary: moved });
}

/** Two payments, spent or not, begin each history. */
function historyOf(step: fc.Arbitrary<ReturnStep>, maxLength: number): fc.Arbitrary<readonly ReturnStep[]> {
  const begin = fc.tuple(
    fc.integer({ min: 2, max: 7 }),
    fc.boolean(),
    fc.integer({ min: 2, max: 7 }),
    fc.boolean(),
  );
  return fc
    .tuple(begin, fc.array(step, { minLength: Math.floor(maxLength / 2), maxLength }))
    .map(([[first, spent, second, spentToo], steps]) => [
      { kind: 'buy', amount: first * 21 },
      ...(spent ? [{ kind: 'spend', amount: first * 20 } as const] : []),
      { kind: 'buy', amount: second * 21 },
      ...(spentToo ? [{ kind: 'spend', amount: second * 20 } as const] : []),
      ...steps,
    ]);
}

function playOn(steps: readonly ReturnStep[]): ReturnedPayments {
  const after = new ReturnedPayments(OF_FIRST);
  for (const step of steps) after.take(step);
  return after;
}

/** What is taken for good: what came back is dropped from what was taken last for the same. */
function lastingOf(steps: readonly ReturnStep[]): readonly ReturnStep[] {
  const left = steps.map((step) => ('amount' in step ? step.amount : 0));
  steps.forEach((step, index) => {
    if (step.kind !== 'give_back') return;
    let back = step.amount;
    for (let before = index - 1; before >= 0 && back > 0; before -= 1) {
      const taken = steps[before];
      if (taken?.kind !== 'take' || taken.source !== step.source) continue;
      const part = Math.min(back, left[before] ?? 0);
      left[before] = (left[before] ?? 0) - part;
      back -= part;
    }
  });
  return steps.flatMap((step, index) => {
    if (step.kind === 'give_back') return [];
    if (step.kind !== 'take') return [step];
    const amount = left[index] ?? 0;
    return amount === 0 ? [] : [{ ...step, amount }];
  });
}

/** The history, and the same one without what came back. */
function play(steps: readonly ReturnStep[], won: readonly Source[]) {
  const after = playOn(steps);
  for (const each of won) after.giveAllBack(each);
  const lasting = lastingOf(after.done);
  const without = playOn(lasting);
  // What a dispute took beyond the payment while this was away is credit until it comes back: it can be spent, and owed then.
  const isPossible = lasting.every((step) => step.kind === 'write_off' || without.done.includes(step));
  return { after, without, isPossible };
}

/**
 * While money is away for one dispute, another has other parts of its payment, which bounds what an operator gives up for it: then the
 * operator of the two histories did not do the same.
 */
function isBoundedOtherwise(after: ReturnedPayments, without: ReturnedPayments): boolean {
  const written = after.writtenOff.filter(({ done }) => done);
  return without.writtenOff.some(({ gaveUp, left: owed }, index) => {
    const then = written[index]?.gaveUp ?? 0n;
    return gaveUp > then || (gaveUp < then && owed > 0n);
  });
}

/** Whether all that is not needed is undone: at one return no more than comes back is. */
function isSettled({ store }: ReturnedPayments): boolean {
  return undo(store.reliefs.values(), new AwayHistory(store.returned), micros(1n << 60n)).length === 0;
}

/** What the doctor, which plays the ledger again by rules of its own, finds wrong with a history. */
function faultsOf({ store }: ReturnedPayments): readonly unknown[] {
  const lots = new LotReplay();
  const links = new Map([...store.payments].map(([source, { id, paid }]) => [source, { payment: id, paid }]));
  const replay = new ReliefReplay(store.givenLotIds, new Set(), true, links);
  const faults = store.transfers.map((transfer) => {
    const before = lots.debt;
    const row = { ...toCanonicalFields(transfer), hash: transfer.hash };
    lots.next(row);
    return replay.next(row, before, lots.debt);
  });
  const stored = [...store.reliefs].map(
    ([seq, { stillOwedMicros: otherDebt, undoneMicros: undone }]) =>
      [`${seq}`, { otherDebt, undone }] as const,
  );
  return [...faults, replay.end(), ...replay.differences(new Map(stored))].filter((fault) => fault !== null);
}

const net = ({ store, givenUp }: ReturnedPayments): bigint => store.wallet.postedMicros - givenUp;
const left = ({ refundable, givenUp, store }: ReturnedPayments) => ({
  debt: store.wallet.debtMicros,
  refundable,
  givenUp,
});
const winner = fc.constantFrom<Source>('dispute:0', 'dispute:1', 'dispute:3', 'refund:0');

describe('the doctor', () => {
  it('comes by itself to what the engine wrote down of each relief, whatever was held, charged, given and written off', async () => {
    await checkProperty(
      'reliefs follow from the ledger',
      fc.property(
        fc
          .constantFrom(1, 21)
          .chain((unit) => historyOf(stepOf(unit, 'buy', 'spend', 'hold', 'capture', 'give'), 40)),
        fc.subarray(SOURCES),
        (steps, won) => {
          const after = playOn(steps);
          for (const each of won) after.giveAllBack(each);
          expect(faultsOf(after)).toEqual([]);
        },
      ),
      { runs: 2_000 },
    );
  });
});

describe('money that a dispute or a refund took and gave back', () => {
  it('leaves the wallet as if it had never been taken, whatever else was disputed, bought, spent and written off', async () => {
    await checkProperty(
      'what is won leaves no trace',
      fc.property(
        historyOf(stepOf(21, 'buy', 'spend', 'hold', 'capture'), 40),
        fc.subarray(SOURCES),
        (steps, won) => {
          const { after, without, isPossible } = play(steps, won);
          fc.pre(isPossible);
          expect(net(after)).toBe(net(without));
          fc.pre(!isBoundedOtherwise(after, without) && isSettled(after));
          expect(left(after)).toEqual(left(without));
        },
      ),
      { runs: 2_000 },
    );
  });

  it('never makes credit that was given refundable, and costs neither the customer nor us anything, whatever was given', async () => {
    await checkProperty(
      'given credit stays given credit when a dispute is won',
      fc.property(
        historyOf(stepOf(21, 'buy', 'spend', 'hold', 'capture'), 14),
        fc.array(stepOf(21, 'buy', 'give'), { minLength: 3, maxLength: 10 }),
        winner,
        (before, later, won) => {
          // Nothing before the end: given credit that pays a later debt frees what is bought after that.
          const { after, without, isPossible } = play(
            [...before, ...later].filter(({ kind }) => kind !== 'give_back'),
            [won],
          );
          fc.pre(isPossible);
          expect(net(after)).toBe(net(without));
          fc.pre(!isBoundedOtherwise(after, without));
          // What was given up for it is owed again, and given credit that comes back in the same moment pays that.
          expect(after.refundable <= without.refundable + after.owedAgainFor(won)).toBe(true);
        },
      ),
      { runs: 2_000 },
    );
  });

  it('leaves nothing written off once all of it is back', async () => {
    await checkProperty(
      'disputes and refunds that are all won leave no trace',
      fc.property(
        historyOf(stepOf(21, 'buy', 'spend', 'hold', 'capture'), 40),
        fc.shuffledSubarray(SOURCES, { minLength: SOURCES.length }),
        (steps, order) => {
          const after = playOn(steps);
          for (const each of order) after.giveAllBack(each);
          const without = playOn(after.done.filter((step) => !('source' in step)));
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

  it('leaves credit that was given on the wallet to the cent, however the parts of refunds and disputes were rounded', async () => {
    const source = fc.constantFrom(...SOURCES);
    const amount = fc.integer({ min: 1, max: 400 });
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('take'), source, amount }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('give_back'), source, amount, coverFirst: fc.boolean() }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('give'), amount }) },
    );
    const order = fc.shuffledSubarray(SOURCES, { minLength: SOURCES.length });
    await checkProperty(
      'what was given is given credit again once all of it is back',
      fc.property(
        fc.integer({ min: 2, max: 60 }),
        fc.array(step, { maxLength: 12 }),
        order,
        (price, steps, won) => {
          const spent: readonly ReturnStep[] = [
            { kind: 'buy', amount: price * 21 },
            { kind: 'buy', amount: price * 21 },
            { kind: 'spend', amount: price * 40 },
          ];
          const after = playOn([...spent, ...steps]);
          for (const each of won) after.giveAllBack(each);
          const given = steps.reduce(
            (sum, { kind, amount: cents }) => (kind === 'give' ? sum + cents : sum),
            0,
          );
          expect([after.refundable, after.store.wallet.postedMicros]).toEqual([0n, BigInt(given) * 10_000n]);
        },
      ),
      { runs: 4_000 },
    );
  });
});

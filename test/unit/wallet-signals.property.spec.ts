import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { micros, type MicroUsd } from '../../src/platform/common/money.js';
import { GENESIS_HASH } from '../../src/money/ledger/transfer.js';
import { findSignals, type Watch } from '../../src/money/wallets/rules/batch.js';
import type { Wallet, WalletStatus } from '../../src/money/wallets/rules/wallet.js';
import { checkProperty } from '../support/property.js';

const UNWATCHED: Watch = { topUpThresholdMicros: null, lowThresholdMicros: null, level: 'ample' };

function wallet(posted: number, held = 0, status: WalletStatus = 'active'): Wallet {
  return {
    accountId: 'acct_01ARZ3NDEKTSV4RRFFQ69G5FAV',
    status,
    postedMicros: micros(BigInt(posted)),
    heldMicros: micros(BigInt(held)),
    debtMicros: micros(0n),
    floorMicros: micros(0n),
    seq: 7,
    headHash: GENESIS_HASH,
    headAtMs: 0,
    lots: [],
  };
}

const amount = (value: number | null): MicroUsd | null => (value === null ? null : micros(BigInt(value)));

/** `low>frozen`: the level it ends at, then the signals. */
function levelAndSignals(
  watch: Partial<Watch>,
  before: Wallet,
  after: Wallet,
  refused: number | null = null,
): string {
  const { level, signals } = findSignals(
    { ...UNWATCHED, ...watch },
    { before, after, refusedMicros: amount(refused) },
  );
  return `${level}>${signals.map(({ type }) => type).join(',')}`;
}

describe('the level of a wallet', () => {
  const watch = { lowThresholdMicros: micros(100n) };

  it.each([
    ['at its mark is not low', 'ample', 150, 100, 'ample>'],
    ['below its mark is low', 'ample', 100, 99, 'low>low'],
    ['that is low is reported once', 'low', 99, 50, 'low>'],
    ['goes on being low while it hovers at the mark', 'low', 99, 119, 'low>'],
    ['has recovered at 120% of the mark', 'low', 99, 120, 'ample>'],
    ['is depleted when the last credit is spent', 'low', 40, 0, 'depleted>depleted'],
    ['skips low when all is spent at once', 'ample', 200, 0, 'depleted>depleted'],
    ['that is depleted is reported once', 'depleted', 0, 0, 'depleted>'],
    ['rises from depleted to low without a word', 'depleted', 0, 50, 'low>'],
    ['rises from depleted to ample', 'depleted', 0, 120, 'ample>'],
  ] as const)('%s', (_name, level, before, after, expected) => {
    expect(levelAndSignals({ ...watch, level }, wallet(before), wallet(after))).toBe(expected);
  });

  it('goes by posted credit: what holds set aside may come back', () => {
    expect(levelAndSignals(watch, wallet(150), wallet(150, 150))).toBe('ample>');
  });

  it('is depleted by a refused spend, but not when only holds left too little credit', () => {
    expect(levelAndSignals({}, wallet(30), wallet(30), 40)).toBe('depleted>depleted');
    expect(levelAndSignals({ level: 'depleted' }, wallet(30), wallet(30), 40)).toBe('depleted>');
    expect(levelAndSignals({}, wallet(80, 80), wallet(80, 80), 40)).toBe('ample>');
  });

  it('of a new wallet without credit signals nothing until a spend is refused', () => {
    expect(levelAndSignals(watch, wallet(0), wallet(0))).toBe('low>low');
    expect(levelAndSignals({}, wallet(0), wallet(0))).toBe('ample>');
    expect(levelAndSignals({}, wallet(0), wallet(0), 40)).toBe('depleted>depleted');
  });

  it('ends with its mark', () => {
    expect(levelAndSignals({ level: 'low' }, wallet(50), wallet(40))).toBe('ample>');
  });
});

describe('the top-up mark', () => {
  const watch = { topUpThresholdMicros: micros(100n) };

  it.each([
    ['crossing it', wallet(150), wallet(99), 'ample>below_top_up_threshold'],
    ['crossing it with a hold', wallet(150), wallet(150, 51), 'ample>below_top_up_threshold'],
    ['standing at it', wallet(150), wallet(100), 'ample>'],
    ['falling further', wallet(99), wallet(50), 'ample>'],
    ['credit that leaves it below', wallet(10), wallet(60), 'ample>below_top_up_threshold'],
    ['credit that lifts it', wallet(10), wallet(100), 'ample>'],
    ['a frozen wallet', wallet(150), wallet(50, 0, 'frozen'), 'ample>frozen'],
    ['a unfreeze below it', wallet(50, 0, 'frozen'), wallet(50), 'ample>below_top_up_threshold'],
  ])('%s', (_name, before, after, expected) => {
    expect(levelAndSignals(watch, before, after)).toBe(expected);
  });

  it('means nothing when none is set', () => {
    expect(levelAndSignals({}, wallet(150), wallet(1))).toBe('ample>');
  });
});

it('a balance that goes up and down is reported low again only after it has recovered', async () => {
  await checkProperty(
    'levels',
    fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 60 }), (balances) => {
      let watch: Watch = { ...UNWATCHED, lowThresholdMicros: micros(100n) };
      let before = wallet(400);
      let armed = true;
      for (const posted of balances) {
        const after = wallet(posted);
        const { level, signals } = findSignals(watch, { before, after, refusedMicros: null });
        const expected = armed && posted < 100;
        expect(signals.map(({ type }) => type)).toEqual(expected ? ['low'] : []);
        if (posted < 100) armed = false;
        else if (posted >= 120) armed = true;
        watch = { ...watch, level };
        before = after;
      }
    }),
    { runs: 1_000 },
  );
});

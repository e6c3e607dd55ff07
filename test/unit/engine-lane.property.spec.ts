import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { WalletCommand } from '../../src/wallets/rules/command.js';
import { BATCH_MAX, Lane, type Queued } from '../../src/wallets/engine-lane.js';
import { checkProperty } from '../support/property.js';

const WALLETS = ['a', 'b', 'c', 'd', 'e'] as const;

/** A lane does not look at what a command says, only at whose it is. */
function entry(accountId: string, reference: string): Queued {
  return {
    command: { accountId, reference } as WalletCommand,
    resolve: () => undefined,
    reject: () => undefined,
  };
}

const accountsOf = (batch: readonly Queued[]): Set<string> =>
  new Set(batch.map(({ command }) => command.accountId));
const referencesOf = (batch: readonly Queued[]): string[] =>
  batch.map(({ command }) => (command as { reference: string }).reference);

type Step =
  { type: 'add'; wallet: string; count: number } | { type: 'begin' } | { type: 'end'; which: number };

const steps = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constant('add' as const),
      wallet: fc.constantFrom(...WALLETS),
      count: fc.integer({ min: 1, max: 300 }),
    }),
    fc.record({ type: fc.constant('begin' as const) }),
    fc.record({ type: fc.constant('end' as const), which: fc.nat({ max: 1 }) }),
  ),
  { maxLength: 60 },
);

describe('a lane of the engine', () => {
  it('decides the commands of a wallet in their order, never in two batches at once, and loses none', async () => {
    const play = (history: readonly Step[], overlapFrom: number): void => {
      const lane = new Lane(overlapFrom);
      const added = new Map<string, string[]>(WALLETS.map((wallet) => [wallet, []]));
      const begun = new Map<string, string[]>(WALLETS.map((wallet) => [wallet, []]));
      const running: (readonly Queued[])[] = [];
      let count = 0;

      const begin = (): void => {
        if (!lane.mayBegin) return;
        const free = lane.freeCount;
        const [first] = running;
        if (first !== undefined) {
          expect(running).toHaveLength(1);
          expect(free).toBeGreaterThanOrEqual(Math.max(overlapFrom, first.length));
        }
        const batch = lane.begin();
        expect(batch).toHaveLength(Math.min(free, BATCH_MAX));
        const others = new Set(running.flatMap((other) => [...accountsOf(other)]));
        expect([...accountsOf(batch)].filter((wallet) => others.has(wallet))).toEqual([]);
        for (const wallet of accountsOf(batch)) {
          const own = batch.filter(({ command }) => command.accountId === wallet);
          begun.get(wallet)?.push(...referencesOf(own));
        }
        running.push(batch);
      };
      const end = (which: number): void => {
        const [batch] = running.splice(Math.min(which, running.length - 1), 1);
        if (batch !== undefined) lane.end(batch);
      };

      for (const step of history) {
        if (step.type === 'begin') begin();
        else if (step.type === 'end') end(step.which);
        else
          for (let index = 0; index < step.count; index += 1) {
            count += 1;
            added.get(step.wallet)?.push(`${count}`);
            lane.add(entry(step.wallet, `${count}`));
          }
      }
      while (lane.mayBegin || running.length > 0) {
        begin();
        end(0);
      }
      expect(begun).toEqual(added);
    };
    await checkProperty('a lane', fc.property(steps, fc.constantFrom(1, 8, 10_000), play), { runs: 2_000 });
  });

  it('holds back only what is for the wallet of a running batch', () => {
    const lane = new Lane(1);
    lane.add(entry('hot', '1'));
    const first = lane.begin();
    for (const reference of ['2', '3']) lane.add(entry('hot', reference));
    expect([lane.freeCount, lane.mayBegin]).toEqual([0, false]);
    lane.add(entry('other', '4'));
    expect(referencesOf(lane.begin())).toEqual(['4']);
    lane.add(entry('third', '5'));
    // Two run already.
    expect(lane.mayBegin).toBe(false);
    lane.end(first);
    // The older ones first.
    expect(referencesOf(lane.begin())).toEqual(['2', '3', '5']);
  });
});

import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { BATCH_MAX, Lane, type Queued } from '../../src/money/wallets/wallet-engine.js';
import { checkProperty } from '../support/property.js';

const WALLETS = ['a', 'b', 'c', 'd', 'e'] as const;

/** A lane does not look at what a command says, only at whose it is. */
function entry(accountId: string, arrival: number): Queued {
  return {
    arrival,
    arrivedAtMs: arrival,
    command: { accountId, reference: `${arrival}` } as WalletCommand,
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
  it('takes the oldest commands whose wallet is in no running batch: in the order of each wallet, and fair to all', async () => {
    const play = (history: readonly Step[], overlapFrom: number): void => {
      const lane = new Lane(overlapFrom);
      /** The model: all that wait, in the order of their arrival. */
      let waiting: Queued[] = [];
      const running: (readonly Queued[])[] = [];
      let arrivals = 0;

      const begin = (): void => {
        const busy = new Set(running.flatMap((batch) => [...accountsOf(batch)]));
        const free = waiting.filter(({ command }) => !busy.has(command.accountId));
        const [first] = running;
        const enough = first === undefined ? 1 : Math.max(overlapFrom, first.length);
        expect(lane.freeCount).toBe(free.length);
        expect(lane.mayBegin).toBe(running.length < 2 && free.length >= enough);
        if (!lane.mayBegin) return;
        const batch = lane.begin();
        expect(referencesOf(batch)).toEqual(referencesOf(free.slice(0, BATCH_MAX)));
        const taken = new Set(batch);
        waiting = waiting.filter((entry) => !taken.has(entry));
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
            const added = entry(step.wallet, arrivals++);
            waiting.push(added);
            lane.add(added);
          }
      }
      while (waiting.length > 0 || running.length > 0) {
        begin();
        end(0);
      }
      expect(lane.freeCount).toBe(0);
    };
    await checkProperty('a lane', fc.property(steps, fc.constantFrom(1, 8, 10_000), play), { runs: 2_000 });
  });

  it('holds back only what is for the wallet of a running batch', () => {
    const lane = new Lane(1);
    lane.add(entry('hot', 1));
    const first = lane.begin();
    for (const arrival of [2, 3]) lane.add(entry('hot', arrival));
    expect([lane.freeCount, lane.mayBegin]).toEqual([0, false]);
    lane.add(entry('other', 4));
    expect(referencesOf(lane.begin())).toEqual(['4']);
    lane.add(entry('third', 5));
    // Two run already.
    expect(lane.mayBegin).toBe(false);
    lane.end(first);
    expect(referencesOf(lane.begin())).toEqual(['2', '3', '5']);
  });

  it('lets a wallet with one command go before the later commands of a wallet that never stops', () => {
    const lane = new Lane(128);
    let arrivals = 0;
    const sendHot = (count: number): void => {
      for (let index = 0; index < count; index += 1) lane.add(entry('hot', arrivals++));
    };
    sendHot(2_000);
    let batch = lane.begin();
    const quiet = arrivals++;
    lane.add(entry('quiet', quiet));
    const batches: string[][] = [];
    while (batches.length < 10 && !batches.flat().includes(`${quiet}`)) {
      // Every client that was answered sends its next command.
      sendHot(batch.length);
      lane.end(batch);
      batch = lane.begin();
      batches.push(referencesOf(batch));
    }
    // What had come before it: 1,488 commands in batches of 512.
    expect(batches).toHaveLength(3);
  });
});

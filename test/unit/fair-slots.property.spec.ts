import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FairSlots } from '../../src/platform/common/fair-slots.js';
import { checkProperty } from '../support/property.js';

type Work = { readonly owner: string; readonly end: () => void };

const owner = fc.constantFrom('a', 'b', 'c', 'd');
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('ask' as const), owner }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('end' as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), pick: fc.nat() }) },
  ),
  { maxLength: 120 },
);

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('slots that are shared', () => {
  it('are never more than there are, never free while something waits, and given to an owner below its share first', async () => {
    await checkProperty(
      'fair slots',
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), steps, async (count, script) => {
        const slots = new FairSlots({ slots: count, waitersMax: 1_000, waitersPerOwnerMax: 1_000 });
        const running: Work[] = [];
        const waiting: { readonly owner: string; readonly client: AbortController }[] = [];
        const all: Promise<unknown>[] = [];
        const runningOf = (named: string) => running.filter((work) => work.owner === named).length;
        const ask = (named: string): void => {
          const client = new AbortController();
          const waiter = { owner: named, client };
          waiting.push(waiter);
          const work = () =>
            new Promise<void>((resolve) => {
              waiting.splice(waiting.indexOf(waiter), 1);
              running.push({ owner: named, end: resolve });
            });
          const ran = slots.run({ owner: named, call: named }, work, { signal: client.signal });
          all.push(ran.catch((error: unknown) => expect(error).toBe(client.signal.reason)));
        };
        const end = async (pick: number): Promise<void> => {
          const [ended] = running.splice(pick % running.length, 1);
          const owners = new Set([...running, ...waiting].map((each) => each.owner));
          const share = Math.ceil(count / owners.size);
          const isAnyBelow = waiting.some((each) => runningOf(each.owner) < share);
          const before = running.length;
          ended?.end();
          await settled();
          const next = running[before];
          if (next !== undefined && isAnyBelow) expect(runningOf(next.owner)).toBeLessThanOrEqual(share);
        };
        for (const step of script) {
          if (step.kind === 'ask') ask(step.owner);
          else if (step.kind === 'end') {
            if (running.length > 0) await end(step.pick);
          } else if (waiting.length > 0) {
            const [left] = waiting.splice(step.pick % waiting.length, 1);
            left?.client.abort(new Error('left'));
          }
          await settled();
          expect(running.length).toBeLessThanOrEqual(count);
          if (waiting.length > 0) expect(running).toHaveLength(count);
          expect(slots.waiting).toBe(waiting.length);
        }
        while (running.length > 0) await end(0);
        expect(waiting).toEqual([]);
        await Promise.all(all);
      }),
      { runs: 100 },
    );
  });
});

import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FairQueue } from '../../src/platform/common/fair-slots.js';
import { checkProperty } from '../support/property.js';

type Item = { readonly owner: string; readonly number: number };
type Step = { readonly kind: 'add' | 'take' | 'remove'; readonly owner: string; readonly pick: number };

const owner = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const steps = fc.array(
  fc.record({ kind: fc.constantFrom<Step['kind']>('add', 'add', 'take', 'remove'), owner, pick: fc.nat() }),
  { maxLength: 200 },
);

describe('a fair queue', () => {
  it('serves owners in turn, each in its own order, and loses nothing', async () => {
    await checkProperty(
      'a fair queue',
      fc.property(steps, (script) => {
        const queue = new FairQueue<Item>();
        const waiting: Item[] = [];
        /** For each owner that waits: whom it saw served since it was served itself, or since it began to wait. */
        const servedSince = new Map<string, string[]>();
        const drop = (item: Item): void => void waiting.splice(waiting.indexOf(item), 1);
        const ownersWaiting = (): Set<string> => new Set(waiting.map((item) => item.owner));
        const take = (): void => {
          const next = queue.peek();
          expect(next === null).toBe(waiting.length === 0);
          if (next === null) return;
          expect(next.item).toBe(waiting.find((item) => item.owner === next.owner));
          queue.take(next);
          drop(next.item);
          servedSince.delete(next.owner);
          for (const other of ownersWaiting()) {
            const seen = [...(servedSince.get(other) ?? []), ...(other === next.owner ? [] : [next.owner])];
            expect(new Set(seen).size).toBe(seen.length);
            servedSince.set(other, seen);
          }
        };
        script.forEach(({ kind, owner: named, pick }, number) => {
          if (kind === 'add') {
            const item = { owner: named, number };
            waiting.push(item);
            queue.add(named, item);
          } else if (kind === 'take') take();
          else if (waiting.length > 0) {
            const item = waiting[pick % waiting.length] as Item;
            expect(queue.remove(item.owner, item)).toBe(true);
            expect(queue.remove(item.owner, item)).toBe(false);
            drop(item);
            if (!ownersWaiting().has(item.owner)) servedSince.delete(item.owner);
          }
          expect(queue.size).toBe(waiting.length);
          for (const each of ownersWaiting()) {
            expect(queue.countFor(each)).toBe(waiting.filter((item) => item.owner === each).length);
          }
          expect(new Set(queue.owners())).toEqual(ownersWaiting());
        });
        while (waiting.length > 0) take();
        expect(queue.peek()).toBeNull();
      }),
      { runs: 200 },
    );
  });

  it('passes over owners that are not eligible, which keep their position', async () => {
    await checkProperty(
      'eligible owners',
      fc.property(
        fc.array(owner, { maxLength: 40 }),
        fc.subarray(['a', 'b', 'c', 'd', 'e']),
        (owners, eligible) => {
          const queue = new FairQueue<Item>();
          owners.forEach((each, number) => queue.add(each, { owner: each, number }));
          const before = [...queue.owners()].filter((each) => !eligible.includes(each));
          for (;;) {
            const next = queue.peek((each) => eligible.includes(each));
            if (next === null) break;
            expect(eligible).toContain(next.owner);
            queue.take(next);
          }
          expect([...queue.owners()]).toEqual(before);
        },
      ),
      { runs: 100 },
    );
  });
});

import { describe, expect, it } from '@jest/globals';
import { FairSlots, type FairSlotLimits } from '../../src/platform/common/fair-slots.js';

const LIMITS: FairSlotLimits = { slots: 4, waitersMax: 40, waitersPerOwnerMax: 8 };

/** Slots whose work ends when the test says so, in the order in which it began. */
function open(limits: Partial<FairSlotLimits> = {}) {
  const slots = new FairSlots({ ...LIMITS, ...limits });
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const ask = (
    owner: string,
    call = `${owner}${begun.length}${slots.waiting}`,
    { count = 1, signal = new AbortController().signal } = {},
  ): Promise<unknown> =>
    slots
      .run(
        { owner, call, slots: count },
        () => {
          begun.push(owner);
          return new Promise<string>((resolve) => ends.push(() => resolve('done')));
        },
        { signal },
      )
      .catch((error: unknown) => error);
  const endOldest = async (): Promise<void> => {
    ends.shift()?.();
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  return { slots, begun, ask, endOldest };
}

const times = (count: number, work: () => Promise<unknown>) => Array.from({ length: count }, work);

describe('slots that accounts share', () => {
  it('are all used by an account that is alone', () => {
    const { ask, begun, slots } = open();
    void times(6, () => ask('a'));
    expect({ begun, waiting: slots.waiting }).toEqual({ begun: ['a', 'a', 'a', 'a'], waiting: 2 });
  });

  it('go to a new account next, regardless of how many calls of another account wait', async () => {
    const { ask, begun, endOldest } = open();
    void times(12, () => ask('a'));
    void ask('b');
    await endOldest();
    expect(begun.at(-1)).toBe('b');
  });

  it('are given up one by one until each account has its share, and are not taken back before', async () => {
    const { ask, begun, endOldest } = open();
    void times(10, () => ask('a'));
    void times(6, () => ask('b'));
    for (let ended = 0; ended < 4; ended += 1) await endOldest();
    // Of the first four that ended, b got two: its share. The other two went on to a.
    expect(begun.slice(4).sort()).toEqual(['a', 'a', 'b', 'b']);
  });

  it('refuse what an account asks for beyond its own limit, and nothing that others ask for', async () => {
    const { ask, slots } = open();
    void times(12, () => ask('a'));
    expect(await ask('a')).toMatchObject({ name: 'NoSlotError', reason: 'owner_queue_full' });
    void ask('b');
    expect([slots.countWaiting('a'), slots.countWaiting('b')]).toEqual([8, 1]);
  });

  it('take the images of one call as a whole or refuse all of them', async () => {
    const { ask, slots } = open();
    void times(4, () => ask('a'));
    void times(7, () => ask('a'));
    void times(5, () => ask('a', 'a call for five'));
    expect(slots.countWaiting('a')).toBe(12);
    const refused = await Promise.all(times(5, () => ask('a', 'another call for five')));
    expect(refused).toEqual(Array(5).fill(expect.objectContaining({ reason: 'owner_queue_full' })));
  });

  it('refuse any account when more wait than the process may hold', async () => {
    const { ask } = open({ waitersMax: 3 });
    void times(4, () => ask('a'));
    void times(3, () => ask('b'));
    expect(await ask('c')).toMatchObject({ reason: 'queue_full' });
  });

  it('are all taken by work that needs them all, which nothing overtakes', async () => {
    const { ask, begun, endOldest } = open({ slots: 2 });
    void times(2, () => ask('a'));
    void ask('b', 'large', { count: 2 });
    void ask('c');
    await endOldest();
    void ask('d');
    expect(begun).toEqual(['a', 'a']);
    await endOldest();
    expect(begun).toEqual(['a', 'a', 'b']);
    await endOldest();
    expect(begun).toEqual(['a', 'a', 'b', 'c', 'd']);
  });

  it('go to the others when work that needs them all is given up', async () => {
    const { ask, begun, endOldest } = open({ slots: 2 });
    const client = new AbortController();
    void times(2, () => ask('a'));
    const large = ask('b', 'large', { count: 2, signal: client.signal });
    void ask('c');
    await endOldest();
    client.abort(new Error('client left'));
    expect(await large).toMatchObject({ message: 'client left' });
    expect(begun).toEqual(['a', 'a', 'c']);
  });
});

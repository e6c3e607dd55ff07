import { describe, expect, it } from '@jest/globals';
import { ConversionSlots } from '../../src/gateway/images/media/conversions.js';

const never = new AbortController().signal;
const by = (owner: string, signal = never) => ({ slotRequest: { owner, call: 'gen_a' }, signal });
const tick = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('the conversion of images', () => {
  it('runs for so many at once and no more, and goes on after a failure', async () => {
    const slots = new ConversionSlots(2);
    let running = 0;
    let peak = 0;
    const work = Array.from({ length: 20 }, (_, index) =>
      slots.run(by('acct_a'), async () => {
        running += 1;
        peak = Math.max(peak, running);
        await tick();
        running -= 1;
        if (index % 3 === 0) throw new Error('no image');
        return index;
      }),
    );
    const ended = await Promise.allSettled(work);
    const delivered = ended.filter(({ status }) => status === 'fulfilled').length;
    expect({ peak, delivered }).toEqual({ peak: 2, delivered: 13 });
  });

  it('is not waited for beyond the deadline of its call, and leaves no slot occupied', async () => {
    const slots = new ConversionSlots(1);
    let end = (): void => undefined;
    const first = slots.run(by('acct_a'), () => new Promise<void>((resolve) => (end = resolve)));
    const deadline = new AbortController();
    let begun = 0;
    const begin = () => Promise.resolve((begun += 1));
    const late = slots.run(by('acct_a', deadline.signal), begin);
    const next = slots.run(by('acct_a'), begin);
    deadline.abort(new Error('the deadline passed'));
    await expect(late).rejects.toThrow('the deadline passed');
    await expect(slots.run(by('acct_a', deadline.signal), begin)).rejects.toThrow('the deadline passed');
    expect(begun).toBe(0);
    end();
    await first;
    expect(await next).toBe(1);
    // The slot is free again.
    expect(await slots.run(by('acct_a'), begin)).toBe(2);
  });
});

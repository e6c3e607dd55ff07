import { describe, expect, it } from '@jest/globals';
import { hedgedRead } from '../../src/platform/common/clock.js';
import { eventually } from '../support/processes.js';

const SOON_MS = 5;

/** Readings that the test answers. */
function stage() {
  const readings: { answer(text: string): void; fail(problem: Error): void }[] = [];
  const read = (): Promise<string> =>
    new Promise((resolve, reject) => readings.push({ answer: resolve, fail: reject }));
  const second = () => eventually('it is read again', () => readings.length === 2);
  return { readings, read, second };
}

describe('a read that many wait for', () => {
  it('is done once where it is answered in time, or refused', async () => {
    const { readings, read } = stage();
    const [good, bad] = [hedgedRead(read, 60_000), hedgedRead(read, 60_000)];
    readings[0]?.answer('found');
    readings[1]?.fail(new Error('no such table'));
    expect(await good).toBe('found');
    await expect(bad).rejects.toThrow('no such table');
    expect(readings).toHaveLength(2);
  });

  it.each(['never answers', 'fails', 'answers later'])(
    'is answered by a second one where the first %s',
    async (what) => {
      const { readings, read, second } = stage();
      const found = hedgedRead(read, SOON_MS);
      await second();
      if (what === 'fails') readings[0]?.fail(new Error('Query read timeout'));
      readings[1]?.answer('second');
      if (what === 'answers later') readings[0]?.answer('first');
      expect(await found).toBe('second');
    },
  );

  it('is answered by the first one where the second fails', async () => {
    const { readings, read, second } = stage();
    const found = hedgedRead(read, SOON_MS);
    await second();
    readings[1]?.fail(new Error('no connection is free'));
    readings[0]?.answer('first');
    expect(await found).toBe('first');
  });

  it('fails as the database failed it, not as a list of problems, where both do', async () => {
    const { readings, read, second } = stage();
    const found = hedgedRead(read, SOON_MS);
    await second();
    readings[0]?.fail(new Error('Query read timeout'));
    readings[1]?.fail(new Error('connect ECONNREFUSED'));
    await expect(found).rejects.toThrow('connect ECONNREFUSED');
  });
});

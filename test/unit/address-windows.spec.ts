import { describe, expect, it } from '@jest/globals';
import { AddressWindows } from '../../src/identity/rate-limits/rate-limit.guard.js';
import { TestClock } from '../support/app/test-clock.js';

describe('requests that are counted by network address', () => {
  it('are as many as the maximum in each minute of each address, however they come', () => {
    const clock = new TestClock();
    clock.stop();
    const windows = new AddressWindows(2, clock);
    const isAdmitted = (address: string): boolean => {
      const admitted = windows.getWaitMs(address) === null;
      if (admitted) windows.count(address);
      return admitted;
    };
    expect([1, 2, 3].map(() => isAdmitted('203.0.113.9'))).toEqual([true, true, false]);
    expect(isAdmitted('203.0.113.10')).toBe(true);
    clock.letPass(59_999);
    expect(isAdmitted('203.0.113.9')).toBe(false);
    expect(windows.getWaitMs('203.0.113.9')).toBe(1);
    clock.letPass(1);
    expect([1, 2, 3].map(() => isAdmitted('203.0.113.9'))).toEqual([true, true, false]);
  });

  it('are remembered of a bounded number of addresses, and of none whose minute is over', () => {
    const clock = new TestClock();
    clock.stop();
    const windows = new AddressWindows(1, clock);
    for (let index = 0; index < 120_000; index += 1)
      windows.count(`2001:db8:${(index >> 8).toString(16)}:${(index & 255).toString(16)}::1`);
    expect(windows.size).toBe(50_000);
    clock.letPass(60_000);
    windows.count('203.0.113.9');
    expect(windows.size).toBe(1);
  });
});

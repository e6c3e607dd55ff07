import { describe, expect, it } from '@jest/globals';
import {
  AttemptSlots,
  PER_ACCOUNT_MAX,
  PER_ENDPOINT_MAX,
  PER_PROCESS_MAX,
  type Slot,
} from '../../src/notifications/webhooks/attempt-slots.js';

const NOW_MS = 1_000_000;
const nameOf = (accountId: string, endpointId: string) => ({ accountId, endpointId });
const releaseOf = (slot: Slot) => (slot.kind === 'taken' ? slot.release : () => undefined);

describe('the slots of attempts', () => {
  it('bound what one endpoint, one account and the process hold open', () => {
    const slots = new AttemptSlots();
    const kinds = (accountId: string, endpointId: string, count: number) =>
      Array.from({ length: count }, () => slots.acquire(nameOf(accountId, endpointId), NOW_MS).kind);
    expect(kinds('a', 'a1', 3)).toEqual(['taken', 'taken', 'full']);
    for (const endpoint of ['a2', 'a3', 'a4']) expect(kinds('a', endpoint, 2)).toEqual(['taken', 'taken']);
    expect(kinds('a', 'a5', 1)).toEqual(['full']);
    let taken = PER_ACCOUNT_MAX;
    for (let other = 0; taken < PER_PROCESS_MAX; other += 1) {
      expect(kinds(`b${other}`, `b${other}_1`, PER_ENDPOINT_MAX)).toEqual(['taken', 'taken']);
      taken += PER_ENDPOINT_MAX;
    }
    expect(kinds('c', 'c1', 1)).toEqual(['full']);
  });

  it('put what is too much off one after the other, at the pace of receivers that hang, and never for long', () => {
    const slots = new AttemptSlots();
    const put = () => {
      const slot = slots.acquire(nameOf('a', 'a1'), NOW_MS);
      return slot.kind === 'full' ? slot.againAtMs - NOW_MS : null;
    };
    expect([put(), put(), put(), put(), put()]).toEqual([null, null, 7_500, 15_000, 22_500]);
    for (let count = 0; count < 1_000; count += 1) put();
    expect(put()).toBe(600_000);
  });

  it('are free again when attempts end, whatever was taken', () => {
    const slots = new AttemptSlots();
    for (let round = 0; round < 1_000; round += 1) {
      const both = [slots.acquire(nameOf('a', 'a1'), NOW_MS), slots.acquire(nameOf('a', 'a1'), NOW_MS)];
      expect(both.map(({ kind }) => kind)).toEqual(['taken', 'taken']);
      both.forEach((slot, index) => releaseOf(slot)(index === 0));
    }
  });

  it('give a receiver that answers quickly no reason to put anything off', () => {
    const slots = new AttemptSlots();
    const first = slots.acquire(nameOf('a', 'a1'), NOW_MS);
    slots.acquire(nameOf('a', 'a1'), NOW_MS);
    for (let count = 0; count < 50; count += 1) slots.acquire(nameOf('a', 'a1'), NOW_MS);
    releaseOf(first)(true);
    slots.acquire(nameOf('a', 'a1'), NOW_MS);
    expect(slots.acquire(nameOf('a', 'a1'), NOW_MS)).toEqual({ kind: 'full', againAtMs: NOW_MS + 7_500 });
  });
});

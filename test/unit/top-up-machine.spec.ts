import { describe, expect, it } from '@jest/globals';
import {
  canMove,
  findSourceStatuses,
  TOP_UP_STATUSES,
  type TopUpStatus,
} from '../../src/payments/top-ups/top-up.machine.js';

/** Row: from, column: to. Written out, so that a change of the machine is a change here. */
const ALLOWED = `
               created pending processing expired failed needs_review rejected paid
  created         -       x        x         x      x         x          -      x
  pending         -       -        x         x      x         x          -      x
  processing      -       -        -         x      x         x          -      x
  expired         -       -        -         -      -         x          -      x
  failed          -       -        -         -      -         x          -      x
  needs_review    -       -        -         -      -         -          x      x
  rejected        -       -        -         -      -         -          -      -
  paid            -       -        -         -      -         -          -      -`;

function table(): Map<string, boolean> {
  const [header = '', ...rows] = ALLOWED.trim().split('\n');
  const columns = header.trim().split(/\s+/);
  const cells = rows.flatMap((row) => {
    const [from = '', ...marks] = row.trim().split(/\s+/);
    return marks.map((mark, index) => [`${from} -> ${columns[index]}`, mark === 'x'] as const);
  });
  return new Map(cells);
}

describe('the life of a top-up', () => {
  const expected = table();
  const pairs = TOP_UP_STATUSES.flatMap((from) => TOP_UP_STATUSES.map((to) => [from, to] as const));

  it('is described for every pair of statuses', () => {
    expect(expected.size).toBe(TOP_UP_STATUSES.length ** 2);
  });

  it.each(pairs)('%s -> %s is allowed as the table says', (from, to) => {
    expect(canMove(from, to)).toBe(expected.get(`${from} -> ${to}`));
  });

  it('never comes back to where it was', () => {
    const reachable = (from: TopUpStatus, seen = new Set<TopUpStatus>()): Set<TopUpStatus> => {
      for (const to of TOP_UP_STATUSES) {
        if (!canMove(from, to) || seen.has(to)) continue;
        seen.add(to);
        reachable(to, seen);
      }
      return seen;
    };
    for (const status of TOP_UP_STATUSES) expect(reachable(status).has(status)).toBe(false);
  });

  it('can always still be paid until it is, or until a person decided, and is left alone then', () => {
    const ends: readonly TopUpStatus[] = ['paid', 'rejected'];
    expect(findSourceStatuses('paid')).toEqual(TOP_UP_STATUSES.filter((status) => !ends.includes(status)));
    expect(TOP_UP_STATUSES.filter((to) => ends.some((end) => canMove(end, to)))).toEqual([]);
  });
});

import { describe, expect, it } from '@jest/globals';
import {
  afterFailure,
  type AttemptOutcome,
  FAILING_LIMIT_MS,
  FAILING_MEMORY_MS,
  judge,
  RETRY_DELAYS_MS,
} from '../../src/notifications/webhooks/delivery-rules.js';
import {
  WEBHOOK_DELIVERY_STATUSES,
  WEBHOOK_DELIVERY_TRANSITIONS,
} from '../../src/notifications/webhooks/webhook-delivery.machine.js';

const NOW_MS = Date.UTC(2026, 10, 22, 12);
const HOUR_MS = 3_600_000;

const answered = (status: number, retryAfter: string | null = null): AttemptOutcome => ({
  kind: 'answered',
  status,
  retryAfter,
});
const TIMED_OUT: AttemptOutcome = { kind: 'failed', error: 'timeout' };

function delayOf(outcome: AttemptOutcome, attempt: number, random = 0): number | string {
  const verdict = judge(outcome, attempt, NOW_MS, random);
  return verdict.kind === 'retry' ? verdict.atMs - NOW_MS : verdict.kind;
}

describe('an attempt', () => {
  it('succeeds by any 2xx and by nothing else; a redirect is a failure', () => {
    for (const status of [200, 201, 202, 204, 299]) expect(delayOf(answered(status), 1)).toBe('succeeded');
    for (const status of [101, 301, 302, 307, 308, 400, 401, 404, 409, 429, 500, 503, 599]) {
      expect({ status, delay: delayOf(answered(status), 1) }).toEqual({ status, delay: 5_000 });
    }
  });

  it('ends everything by a 410, whichever attempt it is', () => {
    for (const attempt of [1, 5, 10]) expect(delayOf(answered(410), attempt)).toBe('gone');
  });

  it('is followed by the next on the schedule of Standard Webhooks, ten in all, then given up', () => {
    const minutes = (count: number): number => count * 60_000;
    expect(Array.from({ length: 11 }, (_, index) => delayOf(TIMED_OUT, index + 1))).toEqual([
      5_000,
      minutes(5),
      minutes(30),
      minutes(120),
      minutes(300),
      minutes(600),
      minutes(840),
      minutes(1_200),
      minutes(1_440),
      'given_up',
      'given_up',
    ]);
  });

  it('is put off by up to a tenth more, so that what failed together does not return together', () => {
    for (const [index, delayMs] of RETRY_DELAYS_MS.entries()) {
      expect(delayOf(TIMED_OUT, index + 1, 0.5)).toBe(delayMs * 1.05);
      expect(delayOf(TIMED_OUT, index + 1, 0.999_999)).toBeLessThanOrEqual(delayMs * 1.1);
    }
  });

  it('waits as long as the receiver asks for, never shorter than the schedule, never longer than a day', () => {
    const inAnHour = new Date(NOW_MS + HOUR_MS).toUTCString();
    expect(delayOf(answered(503, '120'), 1)).toBe(120_000);
    expect(delayOf(answered(429, '1'), 2)).toBe(300_000);
    expect(delayOf(answered(503, inAnHour), 1)).toBe(HOUR_MS);
    expect(delayOf(answered(503, new Date(NOW_MS - HOUR_MS).toUTCString()), 1)).toBe(5_000);
    expect(delayOf(answered(503, '999999999'), 1)).toBe(24 * HOUR_MS);
    expect(delayOf(answered(503, 'Fri, 31 Dec 9999 23:59:59 GMT'), 1)).toBe(24 * HOUR_MS);
    expect(delayOf(answered(503, '120'), 10)).toBe('given_up');
  });

  it.each([
    '',
    ' ',
    '-1',
    '1.5',
    '1e3',
    'soon',
    '9'.repeat(40),
    '2026-11-22',
    'Thu, 99 Foo 2026 99:99:99 GMT',
    '∞',
  ])('keeps to the schedule when the receiver asks nonsense: %j', (retryAfter) => {
    expect(delayOf(answered(503, retryAfter), 1)).toBe(5_000);
  });
});

describe('an endpoint that fails', () => {
  const at = (ms: number): Date => new Date(NOW_MS + ms);

  it('is hopeless after five days of nothing but failures, and not a moment earlier', () => {
    const recently = { failingSince: at(1 - FAILING_LIMIT_MS), lastFailedAt: at(-HOUR_MS) };
    expect(afterFailure(recently, NOW_MS)).toEqual({
      failingSince: recently.failingSince,
      lastFailedAt: at(0),
      hopeless: false,
    });
    const long = { failingSince: at(-FAILING_LIMIT_MS), lastFailedAt: at(-HOUR_MS) };
    expect(afterFailure(long, NOW_MS).hopeless).toBe(true);
  });

  it('begins a new row of failures when it was sent nothing for days: silence is no failure', () => {
    const forgotten = { failingSince: at(-30 * FAILING_LIMIT_MS), lastFailedAt: at(-FAILING_MEMORY_MS - 1) };
    expect(afterFailure(forgotten, NOW_MS)).toMatchObject({ failingSince: at(0), hopeless: false });
    expect(afterFailure({ failingSince: null, lastFailedAt: null }, NOW_MS)).toMatchObject({
      failingSince: at(0),
      hopeless: false,
    });
  });

  it('is remembered for longer than the longest wait between two attempts', () => {
    expect(FAILING_MEMORY_MS).toBeGreaterThan(Math.max(...RETRY_DELAYS_MS) * 1.1);
  });
});

describe('the life of a delivery', () => {
  it('leads back to pending only from an end, and from pending to every end', () => {
    expect(WEBHOOK_DELIVERY_TRANSITIONS.pending).toEqual(['pending', 'succeeded', 'failed', 'canceled']);
    for (const status of WEBHOOK_DELIVERY_STATUSES) {
      if (status !== 'pending') expect(WEBHOOK_DELIVERY_TRANSITIONS[status]).toEqual(['pending']);
    }
  });
});

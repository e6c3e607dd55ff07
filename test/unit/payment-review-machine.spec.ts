import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import {
  PAYMENT_REVIEW_STATUSES,
  PAYMENT_REVIEW_TRANSITIONS,
  findReviewSourceStatuses,
} from '../../src/payments/payment-reviews/payment-review.machine.js';

const MIGRATION = new URL('../../migrations/1795300000050-disputed-reviews.sql', import.meta.url);

const pairs = PAYMENT_REVIEW_STATUSES.flatMap((from) =>
  PAYMENT_REVIEW_TRANSITIONS[from].map((to) => `${from} -> ${to}`),
);

describe('the life of a payment review', () => {
  it('is the same in the code and in the trigger that refuses everything else', () => {
    const sql = readFileSync(MIGRATION, 'utf8');
    const [, list = ''] = /\(OLD\.status, NEW\.status\) NOT IN \(([^;]*?)\)\)\n/.exec(sql) ?? [];
    const allowed = [...list.matchAll(/\('(\w+)', '(\w+)'\)?/g)].map(([, from, to]) => `${from} -> ${to}`);
    expect(allowed.sort()).toEqual([...pairs].sort());
    expect(allowed).toHaveLength(12);
  });

  it('never leads from money that was credited to money that goes back, nor the other way', () => {
    expect(PAYMENT_REVIEW_TRANSITIONS.credited).toEqual([]);
    expect(findReviewSourceStatuses('credited')).toEqual(['open']);
    // Only a dismissed one opens again, and only before anything was sent back.
    expect(findReviewSourceStatuses('open')).toEqual(['dismissed']);
    expect(findReviewSourceStatuses('dismissed')).toEqual(['open', 'failed']);
  });
});

import type { Left, Step } from './return-histories.js';

const PAID = { top_up: 1_000, top_up_fee: 50 };
const DISPUTED = { dispute: 1_000, dispute_fee: 50 };
const DISPUTED_TWICE = { dispute: 2_000, dispute_fee: 100 };
const REINSTATED = { reinstatement: 1_000, reinstatement_fee: 50 };
const HALF_REINSTATED = { reinstatement: 500, reinstatement_fee: 25 };
const frozen = { status: 'frozen' } as const;

/** Stripe moves the money of a dispute more often than out and back. $10.00 of credit for $10.50 begins every history. */
export const MOVED_DISPUTE_HISTORIES: readonly (readonly [
  name: string,
  steps: readonly Step[],
  left: Left,
])[] = [
  [
    'taken again after it came back',
    [
      ['dispute', 'won'],
      ['dispute_moves', -1_050],
    ],
    { legs: { ...PAID, ...DISPUTED_TWICE, ...REINSTATED }, available: 0, ...frozen },
  ],
  [
    'taken again after it came back and was spent',
    [
      ['dispute', 'won'],
      ['spend', 700],
      ['dispute_moves', -1_050],
    ],
    {
      legs: { ...PAID, ...DISPUTED_TWICE, ...REINSTATED, debit: 700 },
      available: -700,
      debt: 700,
      ...frozen,
    },
  ],
  [
    'taken twice and given back twice',
    [
      ['dispute', 'won'],
      ['dispute_moves', -1_050],
      ['dispute_moves', 1_050],
    ],
    {
      legs: { ...PAID, ...DISPUTED_TWICE, reinstatement: 2_000, reinstatement_fee: 100 },
      available: 1_000,
    },
  ],
  [
    'given back in part',
    [
      ['dispute', 'needs_response'],
      ['dispute_moves', 525],
    ],
    { legs: { ...PAID, ...DISPUTED, ...HALF_REINSTATED }, available: 500, ...frozen },
  ],
  [
    'given back in three uneven parts',
    [
      ['dispute', 'needs_response'],
      ['dispute_moves', 333],
      ['dispute_moves', 1],
      ['dispute_moves', 716],
    ],
    { legs: { ...PAID, ...DISPUTED, ...REINSTATED }, available: 1_000, ...frozen },
  ],
  [
    'taken in two parts',
    [
      ['dispute', 'needs_response', 525],
      ['dispute_moves', -525],
    ],
    { legs: { ...PAID, ...DISPUTED }, available: 0, ...frozen },
  ],
  [
    'taken in two parts, of which the second goes beyond the payment, and given back in part',
    [
      ['dispute', 'needs_response', 525],
      ['dispute_moves', -735],
      ['dispute_moves', 420],
    ],
    // What went beyond the payment comes back first.
    {
      legs: {
        ...PAID,
        ...DISPUTED,
        dispute_excess: 210,
        reinstatement_excess: 210,
        reinstatement: 200,
        reinstatement_fee: 10,
      },
      available: 200,
      ...frozen,
    },
  ],
  [
    'given back with more than was taken, and that taken again',
    [
      ['dispute', 'needs_response'],
      ['dispute_moves', 1_080],
      ['dispute_moves', -40],
    ],
    {
      legs: {
        ...PAID,
        ...REINSTATED,
        reinstatement_excess: 30,
        dispute: 1_010,
        dispute_fee: 50,
        dispute_excess: 30,
      },
      available: 990,
      ...frozen,
    },
  ],
  [
    'given back in part while some of it is owed',
    [
      ['spend', 600],
      ['dispute', 'needs_response'],
      ['dispute_moves', 525],
    ],
    {
      legs: { ...PAID, debit: 600, ...DISPUTED, ...HALF_REINSTATED },
      available: -100,
      debt: 100,
      ...frozen,
    },
  ],
  [
    'given back in part after its debt was written off: so much is owed again',
    [['spend', 1_000], ['dispute', 'lost'], ['write_off'], ['dispute_moves', 525]],
    {
      legs: {
        ...PAID,
        debit: 1_000,
        ...DISPUTED,
        write_off: 1_000,
        write_off_reversal: 500,
        ...HALF_REINSTATED,
      },
      available: 0,
      ...frozen,
    },
  ],
  [
    'written off each time that it was taken',
    [
      ['spend', 1_000],
      ['dispute', 'lost'],
      ['write_off'],
      ['dispute_moves', 1_050],
      ['dispute_moves', -1_050],
      ['write_off'],
      ['write_off'],
    ],
    {
      legs: {
        ...PAID,
        debit: 1_000,
        ...DISPUTED_TWICE,
        write_off: 2_000,
        write_off_reversal: 1_000,
        ...REINSTATED,
      },
      available: 0,
      ...frozen,
    },
  ],
];

/** One step of a history; amounts are cents. */
export type Step =
  /** Buys credit; the first one of a history is the one that everything else is about. */
  | ['top_up', number]
  | ['grant', number]
  | ['spend', number]
  | ['hold', number]
  /** Of credit, or all that is left; a second value is the error it must meet. */
  | ['refund', number | 'all', string?]
  /** In Stripe's dashboard: of the whole amount, fee included. */
  | ['refund_elsewhere', number]
  /** The bank sends the last refund back. */
  | ['refund_fails']
  | ['dispute', string, number?]
  /** The open dispute goes on to this status. */
  | ['becomes', string]
  /** Stripe takes more of the dispute's money, or again (below zero), or gives some back. */
  | ['dispute_moves', number]
  | ['write_off']
  | ['unfreeze', string?]
  | ['warning'];

/** The sum of each kind of transfer, in cents, and what is left. */
export type Left = {
  readonly legs: Readonly<Record<string, number>>;
  readonly available: number;
  readonly debt?: number;
  readonly status?: 'frozen';
};

const PAID = { top_up: 1_000, top_up_fee: 50 };
const DISPUTED = { dispute: 1_000, dispute_fee: 50 };
const REINSTATED = { reinstatement: 1_000, reinstatement_fee: 50 };
const REFUNDED = { refund: 1_000, refund_fee: 50 };
const HALF_REFUNDED = { refund: 500, refund_fee: 25 };
const frozen = { status: 'frozen' } as const;

/** $10.00 of credit for $10.50 begins every history. */
export const RETURN_HISTORIES: readonly (readonly [name: string, steps: readonly Step[], left: Left])[] = [
  // Refunds.
  ['a full refund', [['refund', 'all']], { legs: { ...PAID, ...REFUNDED }, available: 0 }],
  ['a partial refund', [['refund', 500]], { legs: { ...PAID, ...HALF_REFUNDED }, available: 500 }],
  [
    'a full refund in two parts',
    [
      ['refund', 500],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, ...REFUNDED }, available: 0 },
  ],
  [
    'a full refund in three uneven parts',
    [
      ['refund', 333],
      ['refund', 333],
      ['refund', 334],
    ],
    { legs: { ...PAID, ...REFUNDED }, available: 0 },
  ],
  ['a refund of a single cent', [['refund', 1]], { legs: { ...PAID, refund: 1 }, available: 999 }],
  [
    'a refund twice',
    [
      ['refund', 'all'],
      ['refund', 'all', 'refund_exceeds_credit'],
    ],
    { legs: { ...PAID, ...REFUNDED }, available: 0 },
  ],
  [
    'a refund beyond the payment',
    [['refund', 1_001, 'refund_exceeds_credit']],
    { legs: PAID, available: 1_000 },
  ],
  [
    'a refund of what is unspent',
    [
      ['spend', 400],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, debit: 400, refund: 600, refund_fee: 30 }, available: 0 },
  ],
  [
    'a refund of more than is unspent',
    [
      ['spend', 400],
      ['refund', 601, 'refund_exceeds_credit'],
    ],
    { legs: { ...PAID, debit: 400 }, available: 600 },
  ],
  [
    'a refund when all is spent',
    [
      ['spend', 1_000],
      ['refund', 'all', 'refund_exceeds_credit'],
    ],
    { legs: { ...PAID, debit: 1_000 }, available: 0 },
  ],
  [
    'a refund of what no hold has reserved',
    [
      ['hold', 300],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, refund: 700, refund_fee: 35 }, available: 0 },
  ],
  [
    'a refund leaves promotional credit alone',
    [
      ['grant', 200],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, grant: 200, ...REFUNDED }, available: 200 },
  ],
  [
    'promotional credit is spent first, then the rest refunded',
    [
      ['grant', 200],
      ['spend', 300],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, grant: 200, debit: 300, refund: 900, refund_fee: 45 }, available: 0 },
  ],
  [
    'promotional credit is no refund',
    [
      ['grant', 200],
      ['spend', 1_200],
      ['refund', 1, 'refund_exceeds_credit'],
    ],
    { legs: { ...PAID, grant: 200, debit: 1_200 }, available: 0 },
  ],
  [
    'a refund that the bank sends back',
    [['refund', 'all'], ['refund_fails']],
    { legs: { ...PAID, ...REFUNDED, ...REINSTATED }, available: 1_000 },
  ],
  [
    'a refund that failed, made again',
    [['refund', 'all'], ['refund_fails'], ['refund', 'all']],
    { legs: { ...PAID, refund: 2_000, refund_fee: 100, ...REINSTATED }, available: 0 },
  ],
  [
    'a partial refund that failed, then all',
    [['refund', 333], ['refund_fails'], ['refund', 'all']],
    {
      legs: { ...PAID, refund: 1_333, refund_fee: 67, reinstatement: 333, reinstatement_fee: 17 },
      available: 0,
    },
  ],
  [
    'a refund that failed, its credit spent',
    [['refund', 'all'], ['refund_fails'], ['spend', 1_000]],
    { legs: { ...PAID, ...REFUNDED, ...REINSTATED, debit: 1_000 }, available: 0 },
  ],
  [
    'a refund of a first top-up out of a second',
    [
      ['spend', 1_000],
      ['top_up', 500],
      ['refund', 'all'],
    ],
    { legs: { top_up: 1_500, top_up_fee: 75, debit: 1_000, ...HALF_REFUNDED }, available: 0 },
  ],
  // Disputes.
  ['a dispute', [['dispute', 'needs_response']], { legs: { ...PAID, ...DISPUTED }, available: 0, ...frozen }],
  [
    'a dispute of a part',
    [['dispute', 'needs_response', 525]],
    { legs: { ...PAID, dispute: 500, dispute_fee: 25 }, available: 500, ...frozen },
  ],
  [
    'a dispute after half was spent',
    [
      ['spend', 500],
      ['dispute', 'needs_response'],
    ],
    { legs: { ...PAID, debit: 500, ...DISPUTED }, available: -500, debt: 500, ...frozen },
  ],
  [
    'a dispute after all was spent',
    [
      ['spend', 1_000],
      ['dispute', 'needs_response'],
    ],
    { legs: { ...PAID, debit: 1_000, ...DISPUTED }, available: -1_000, debt: 1_000, ...frozen },
  ],
  [
    'a dispute never takes promotional credit',
    [
      ['grant', 300],
      ['spend', 300],
      ['grant', 200],
      ['dispute', 'needs_response'],
    ],
    { legs: { ...PAID, grant: 500, debit: 300, ...DISPUTED }, available: 200, ...frozen },
  ],
  [
    'a dispute, spent, with promotional credit next to the debt',
    [
      ['spend', 1_000],
      ['grant', 200],
      ['dispute', 'needs_response'],
    ],
    { legs: { ...PAID, debit: 1_000, grant: 200, ...DISPUTED }, available: -800, debt: 1_000, ...frozen },
  ],
  [
    'a dispute takes other paid credit next',
    [
      ['top_up', 1_000],
      ['spend', 500],
      ['dispute', 'needs_response'],
    ],
    { legs: { top_up: 2_000, top_up_fee: 100, debit: 500, ...DISPUTED }, available: 500, ...frozen },
  ],
  [
    'a dispute won',
    [['dispute', 'won']],
    { legs: { ...PAID, ...DISPUTED, ...REINSTATED }, available: 1_000 },
  ],
  [
    'a dispute won after the credit was spent',
    [
      ['spend', 1_000],
      ['dispute', 'won'],
    ],
    { legs: { ...PAID, debit: 1_000, ...DISPUTED, ...REINSTATED }, available: 0 },
  ],
  [
    'a dispute won step by step',
    [
      ['dispute', 'needs_response'],
      ['becomes', 'under_review'],
      ['becomes', 'won'],
    ],
    { legs: { ...PAID, ...DISPUTED, ...REINSTATED }, available: 1_000 },
  ],
  ['a dispute lost', [['dispute', 'lost']], { legs: { ...PAID, ...DISPUTED }, available: 0, ...frozen }],
  [
    'a dispute lost, and unfrozen by an operator',
    [['dispute', 'lost'], ['unfreeze']],
    { legs: { ...PAID, ...DISPUTED }, available: 0 },
  ],
  [
    'a dispute lost after the credit was spent',
    [
      ['spend', 1_000],
      ['dispute', 'lost'],
      ['unfreeze', 'wallet_in_debt'],
    ],
    { legs: { ...PAID, debit: 1_000, ...DISPUTED }, available: -1_000, debt: 1_000, ...frozen },
  ],
  [
    'a lost dispute whose debt is written off',
    [['spend', 1_000], ['dispute', 'lost'], ['write_off'], ['unfreeze']],
    { legs: { ...PAID, debit: 1_000, ...DISPUTED, write_off: 1_000 }, available: 0 },
  ],
  [
    'a debt is written off once',
    [['spend', 400], ['dispute', 'lost'], ['write_off'], ['write_off'], ['unfreeze']],
    { legs: { ...PAID, debit: 400, ...DISPUTED, write_off: 400 }, available: 0 },
  ],
  [
    'nothing is written off where nothing is owed',
    [['dispute', 'lost'], ['write_off']],
    { legs: { ...PAID, ...DISPUTED }, available: 0, ...frozen },
  ],
  [
    'a debt is repaid by the next top-up',
    [['spend', 600], ['dispute', 'lost'], ['top_up', 1_000], ['unfreeze']],
    { legs: { top_up: 2_000, top_up_fee: 100, debit: 600, ...DISPUTED }, available: 400 },
  ],
  [
    'a lost dispute that is appealed and won',
    [
      ['dispute', 'lost'],
      ['becomes', 'appeal_needs_response'],
      ['becomes', 'appeal_under_review'],
      ['becomes', 'won'],
    ],
    { legs: { ...PAID, ...DISPUTED, ...REINSTATED }, available: 1_000 },
  ],
  [
    'a debt that is written off, and the dispute won on appeal',
    [
      ['spend', 600],
      ['dispute', 'lost'],
      ['write_off'],
      ['unfreeze'],
      ['becomes', 'appeal_needs_response'],
      ['becomes', 'appeal_under_review'],
      ['becomes', 'won'],
    ],
    {
      legs: { ...PAID, debit: 600, ...DISPUTED, write_off: 600, write_off_reversal: 600, ...REINSTATED },
      available: 400,
    },
  ],
  ['an inquiry', [['dispute', 'warning_needs_response']], { legs: PAID, available: 1_000 }],
  ['an inquiry that ends', [['dispute', 'warning_closed']], { legs: PAID, available: 1_000 }],
  [
    'an inquiry that becomes a dispute',
    [
      ['dispute', 'warning_needs_response'],
      ['becomes', 'needs_response'],
    ],
    { legs: { ...PAID, ...DISPUTED }, available: 0, ...frozen },
  ],
  ['a dispute that was prevented', [['dispute', 'prevented']], { legs: PAID, available: 1_000 }],
  ['an early fraud warning', [['warning']], { legs: PAID, available: 1_000, ...frozen }],
  // Both.
  [
    'a refund, then a dispute of the rest',
    [
      ['refund', 500],
      ['dispute', 'needs_response'],
    ],
    { legs: { ...PAID, ...HALF_REFUNDED, dispute: 500, dispute_fee: 25 }, available: 0, ...frozen },
  ],
  [
    'a refund, then a lost dispute of the rest that was spent',
    [
      ['refund', 500],
      ['spend', 500],
      ['dispute', 'lost'],
    ],
    {
      legs: { ...PAID, ...HALF_REFUNDED, debit: 500, dispute: 500, dispute_fee: 25 },
      available: -500,
      debt: 500,
      ...frozen,
    },
  ],
  [
    'no refund of what is disputed',
    [
      ['dispute', 'needs_response', 525],
      ['refund', 100, 'top_up_not_refundable'],
    ],
    { legs: { ...PAID, dispute: 500, dispute_fee: 25 }, available: 500, ...frozen },
  ],
  [
    'no refund of what a dispute has lost',
    [['dispute', 'lost', 525], ['unfreeze'], ['refund', 501, 'refund_exceeds_credit']],
    { legs: { ...PAID, dispute: 500, dispute_fee: 25 }, available: 500 },
  ],
  [
    'a dispute won leaves what it gave back to be refunded',
    [
      ['dispute', 'won'],
      ['refund', 'all'],
    ],
    { legs: { ...PAID, ...DISPUTED, ...REINSTATED, ...REFUNDED }, available: 0 },
  ],
  [
    'an inquiry is answered by a refund',
    [
      ['dispute', 'warning_needs_response'],
      ['refund', 'all', 'top_up_not_refundable'],
    ],
    { legs: PAID, available: 1_000 },
  ],
];

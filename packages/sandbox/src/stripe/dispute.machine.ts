import type { DisputeStatus } from './money-out-objects.js';

/** Every step that a dispute can take. `dispute-lifecycle.ts` defines what each step does to the money. */
export const DISPUTE_STEPS: Readonly<Record<DisputeStatus, readonly DisputeStatus[]>> = {
  warning_needs_response: ['warning_under_review', 'warning_closed', 'needs_response'],
  warning_under_review: ['warning_closed', 'needs_response'],
  warning_closed: [],
  needs_response: ['under_review', 'won', 'lost'],
  under_review: ['won', 'lost'],
  won: [],
  lost: ['appeal_needs_response'],
  appeal_needs_response: ['appeal_under_review', 'lost'],
  appeal_under_review: ['won', 'lost'],
  prevented: [],
};

/** The steps by which a dispute that is created in this status reached it; each of them sends its events, as Stripe would. */
export const DISPUTE_HISTORIES: Readonly<
  Record<DisputeStatus, readonly [DisputeStatus, ...DisputeStatus[]]>
> = {
  warning_needs_response: ['warning_needs_response'],
  warning_under_review: ['warning_needs_response', 'warning_under_review'],
  warning_closed: ['warning_needs_response', 'warning_closed'],
  needs_response: ['needs_response'],
  under_review: ['needs_response', 'under_review'],
  won: ['needs_response', 'under_review', 'won'],
  lost: ['needs_response', 'under_review', 'lost'],
  appeal_needs_response: ['needs_response', 'under_review', 'lost', 'appeal_needs_response'],
  appeal_under_review: [
    'needs_response',
    'under_review',
    'lost',
    'appeal_needs_response',
    'appeal_under_review',
  ],
  prevented: ['prevented'],
};

export function isInquiry(status: DisputeStatus): boolean {
  return status.startsWith('warning_');
}

import type { DisputeStatus } from './money-out-objects.js';

/** Every step that a dispute can take. What a step does to the money stands in `dispute-lifecycle.ts`. */
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

/** How a dispute that is made with this status came to have it: as Stripe would have told it, event by event. */
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

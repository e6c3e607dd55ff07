/**
 * Stripe's statuses of a dispute, and what each may become. `warning_*` is an inquiry: no money moves. The set is
 * open: a status that Stripe adds is taken as it comes, and what happens to the money never follows from the
 * status but from Stripe's balance transactions.
 */
const STEPS: Readonly<Record<string, readonly string[]>> = {
  warning_needs_response: ['warning_under_review', 'warning_closed', 'needs_response'],
  warning_under_review: ['warning_closed', 'needs_response'],
  warning_closed: [],
  needs_response: ['under_review', 'won', 'lost'],
  under_review: ['won', 'lost'],
  lost: ['appeal_needs_response'],
  appeal_needs_response: ['appeal_under_review', 'lost'],
  appeal_under_review: ['won', 'lost'],
  won: [],
  prevented: [],
};

/** Of a row whose first news is still being acted on. No word of Stripe's, so whatever Stripe says is later. */
export const UNSEEN = 'unseen';

/** Whether `to` may come after `from`, events in between missed or not. News that came late is older news. */
export function isLater(from: string, to: string): boolean {
  if (STEPS[from] === undefined || STEPS[to] === undefined) return from !== to;
  const seen = new Set<string>();
  const open = [...STEPS[from]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next === to) return true;
    if (!seen.has(next)) open.push(...(STEPS[next] ?? []));
    seen.add(next);
  }
  return false;
}

/** Only asked about, or stopped before it began. */
export function isHarmless(status: string): boolean {
  return status.startsWith('warning_') || status === 'prevented';
}

/** Decided for us. */
export function isDecidedForUs(status: string): boolean {
  return status === 'won' || status === 'warning_closed' || status === 'prevented';
}

export function isOpen(status: string): boolean {
  return !isDecidedForUs(status) && status !== 'lost';
}

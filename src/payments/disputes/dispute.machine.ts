/**
 * Stripe's statuses of a dispute, and what each may become. `warning_*` is an inquiry: no money moves. The set is
 * open: a status that Stripe adds is stored as it is. What happens to the money follows from Stripe's balance transactions and never
 * from the status.
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

/** The status of a row whose first event is still being handled. It is not one of Stripe's, so every status of Stripe's is later. */
export const UNSEEN = 'unseen';

/** Whether `to` may come after `from`, also when events in between were missed. An event that arrives late is an older one. */
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

/** Whether the bank only asks, or the dispute was stopped before it began. */
export function isHarmless(status: string): boolean {
  return status.startsWith('warning_') || status === 'prevented';
}

/** Whether the bank decided for us. */
export function isDecidedForUs(status: string): boolean {
  return status === 'won' || status === 'warning_closed' || status === 'prevented';
}

export function isOpen(status: string): boolean {
  return !isDecidedForUs(status) && status !== 'lost';
}

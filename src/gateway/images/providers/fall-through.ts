import type { FailureKind } from './provider-failure.js';

/**
 * Whether an image that one provider did not deliver is asked of the next one, inside the same hold. Total by type: a
 * new kind has to be judged.
 */
export const FALLS_THROUGH: Readonly<Record<FailureKind, boolean>> = {
  // Full, away, or refusing us: another provider is none of these.
  saturated: true,
  unavailable: true,
  account: true,
  // It is over there, without an image; what it cost us is ours to bear.
  failed: true,
  // Two opinions about one prompt would make the stricter provider's filter a matter of its load.
  moderated: false,
  // The customer is told what to mend, whichever provider was asked.
  rejected: false,
  // It may still be delivered: a second image would be made, and perhaps charged, beside it.
  lost: false,
  // Over the customer's own key there is one way and no other.
  key_rejected: false,
  key_unfunded: false,
};

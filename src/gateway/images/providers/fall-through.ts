import type { FailureKind } from './provider-failure.js';

/**
 * Whether the next provider is asked, under the same hold, for an image that one provider did not deliver. The type is total, so a
 * new kind of failure does not compile until it is decided here.
 */
export const FALLS_THROUGH: Readonly<Record<FailureKind, boolean>> = {
  // The provider has no capacity, is down or refuses us. Another provider may still work.
  saturated: true,
  unavailable: true,
  account: true,
  // The task has ended without an image. We bear what it cost.
  failed: true,
  // Otherwise the load of the stricter provider would decide whether its filter applies.
  moderated: false,
  // The answer names the parameter that the customer has to change, whichever provider was asked.
  rejected: false,
  // The image may still be delivered. A second one would be made, and perhaps charged, in addition.
  lost: false,
  // A BYOK call has only one route.
  key_rejected: false,
  key_unfunded: false,
};

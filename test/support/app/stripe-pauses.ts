import { Stripe } from 'stripe';

const PAUSE_SECONDS = 0.01;

/**
 * The SDK waits half a second, then a second, before it asks Stripe again: real time in which a test does nothing. How
 * often it asks, and for what, stays its own. Anyone who imports this takes the pauses from all of its clients in this process.
 */
Object.assign(Stripe.prototype, {
  getInitialNetworkRetryDelay: () => PAUSE_SECONDS,
  getMaxNetworkRetryDelay: () => PAUSE_SECONDS,
});

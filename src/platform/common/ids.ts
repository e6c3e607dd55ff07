import { randomFillSync } from 'node:crypto';
import { monotonicFactory } from 'ulid';

/**
 * Prefixed ULIDs: opaque to clients, sortable by creation time, and made by the application, so that a
 * retried write carries the same id.
 */
export const ID_PREFIXES = {
  account: 'acct',
  alertEmail: 'eml',
  apiKey: 'key',
  auditEvent: 'aud',
  creditLot: 'lot',
  freeze: 'frz',
  generation: 'gen',
  hold: 'hold',
  paymentReview: 'rv',
  price: 'price',
  providerKey: 'pk',
  refund: 're',
  request: 'req',
  statusChange: 'wsc',
  topUp: 'tu',
  webhookDelivery: 'wd',
  webhookEndpoint: 'we',
  webhookEvent: 'evt',
} as const;

export type IdKind = keyof typeof ID_PREFIXES;

/** They are generated in one batch: a call for each of an id's sixteen random characters was 5% of a debit. */
const randomBytes = new Uint8Array(4_096);
let unusedFrom = randomBytes.length;

function randomFraction(): number {
  if (unusedFrom === randomBytes.length) {
    randomFillSync(randomBytes);
    unusedFrom = 0;
  }
  const byte = randomBytes[unusedFrom] ?? 0;
  unusedFrom += 1;
  return byte / 256;
}

const nextUlid = monotonicFactory(randomFraction);

export function newId(kind: IdKind): string {
  return `${ID_PREFIXES[kind]}_${nextUlid()}`;
}

const ULID_PATTERN = '[0-9A-HJKMNP-TV-Z]{26}';

/** True when `text` could have been made by `newId(kind)`; saves a database look-up for garbage. */
export function isId(kind: IdKind, text: string): boolean {
  return new RegExp(`^${ID_PREFIXES[kind]}_${ULID_PATTERN}$`).test(text);
}

/** True when `text` could be an id that Stripe made. */
export function isStripeId(text: string): boolean {
  return /^\w{1,255}$/.test(text);
}

/** The account of the platform's own book: Stripe's fees, payouts and upstream costs, which no customer may see. */
export const PLATFORM_ACCOUNT_ID = 'acct_platform';

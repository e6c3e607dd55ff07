import type { Settings } from '../../config/settings.js';

const DAY_MS = 24 * 60 * 60_000;

/** Images stay fetchable and idempotency keys stay known for this long; the receipts stay for ever. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}

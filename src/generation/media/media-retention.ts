import { DAY_MS } from '../../common/utc-time.js';
import type { Settings } from '../../config/settings.js';

/** Images stay fetchable and idempotency keys stay known for this long; the receipts stay for ever. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}

import { DAY_MS } from '../../../platform/common/utc-time.js';
import type { Settings } from '../../../platform/config/settings.js';

/** Images stay fetchable and answers can be repeated for this long; the receipts, and the keys of calls, stay for ever. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}

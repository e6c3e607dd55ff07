import { DAY_MS } from '../../../platform/common/clock.js';
import type { Settings } from '../../../platform/config/settings.js';

/** Images can be fetched and answers repeated for this long. Receipts and the idempotency keys of calls are never deleted. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}

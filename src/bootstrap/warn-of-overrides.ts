import type { Logger } from 'pino';
import type { Settings } from '../platform/config/settings.js';

/** This is logged at every start, so that what was once allowed for a trial is not forgotten in production. */
export function warnOfOverrides({ overrides }: Pick<Settings, 'overrides'>, log: Logger): void {
  for (const { override, allows, needed } of overrides) {
    const message = needed ? `${override}=yes: ${allows}` : `${override}=yes is not needed; remove it.`;
    log.warn({ event: 'settings.override', override, needed }, message);
  }
}

import type { Logger } from 'pino';
import type { Settings } from '../platform/config/settings.js';

/** This is logged at every start, so that what was once allowed for a trial is not forgotten in production. */
export function warnOfOverrides({ overrides }: Pick<Settings, 'overrides'>, log: Logger): void {
  for (const { override, allows, needed } of overrides) {
    const message = needed ? `${override}=yes: ${allows}` : `${override}=yes is not needed; remove it.`;
    log.warn({ event: 'settings.override', override, needed }, message);
  }
}

/** This is logged at every start: everything works without these settings, so nothing else would report that they are missing. */
export function warnOfAllocator(unset: readonly string[], log: Logger): void {
  if (unset.length === 0) return;
  log.warn(
    { event: 'allocator.unset', unset },
    `${unset.join(' and ')} not set: the process will keep several hundred MiB more after a flood of edits. Set ` +
      'MALLOC_ARENA_MAX=2 and MALLOC_TRIM_THRESHOLD_=131072 in the environment that starts it; .env is read too late.',
  );
}

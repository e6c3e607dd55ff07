import type { Settings } from '../config/settings.js';

/** Where a customer without enough credit buys some. */
export function topUpUrlFrom({ publicUrl, port }: Pick<Settings, 'publicUrl' | 'port'>): string {
  return new URL('/v1/top_ups', publicUrl ?? `http://127.0.0.1:${port}`).href;
}

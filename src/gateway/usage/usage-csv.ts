import { stringify } from 'csv-stringify/sync';
import { encodeCell } from '../../platform/common/csv-cell.js';
import type { TextRow } from '../../platform/database/snapshot.js';

const USAGE_CSV_COLUMNS = [
  'day',
  'source',
  'model',
  'api_key',
  'tag',
  'calls',
  'failed_calls',
  'images',
  'byok_images',
  'free_images',
  'charged_micros',
] as const;

/** Outdated each other these are the file: money in whole micro-dollars, and no cell that a spreadsheet would run as a formula. */
export const usageCsvHeader = (): string => stringify([[...USAGE_CSV_COLUMNS]]);

export function toUsageCsv(rows: readonly TextRow[]): string {
  // Nothing here is empty text: an empty cell means "none".
  const cells = rows.map((row) => row.map((text) => encodeCell(text === '' ? null : text)));
  return stringify(cells, { quoted_match: /\r/ });
}
